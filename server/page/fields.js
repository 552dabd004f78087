// Form fields from a description: {name, type, default, min, max, step, choices, folder, required, long, description}.
// type: string, int, float, boolean, choice or image. A field is {element, get, set, error}.
import { get, h, isBig, number, setSource, show, size, title, url } from './base.js'

let n_fields = 0
const folders = new Map()
export const forgetFolders = () => folders.clear()
// Names of a models folder; asked for once, empty when it cannot be told.
export function namesIn(folder) {
  if (!folders.has(folder)) folders.set(folder, get(url`models/${folder}`).catch(() => []))
  return folders.get(folder)
}

function range(s) {
  const low = s.min !== undefined && s.min !== null, high = s.max !== undefined && s.max !== null && (isBig(s.max) ? 1e19 : s.max) < 1e9
  return low && high ? `${show(s.min)}–${show(s.max)}` : low && s.min !== 0 ? `from ${show(s.min)}` : high ? `to ${show(s.max)}` : ''
}

function imageField(s, id, input) {
  let value
  const picture = h('img', { alt: '', hidden: true })
  const file = h('input', { type: 'file', id, accept: 'image/png,image/jpeg,image/webp', onchange: () => file.files[0] && take(file.files[0]) })
  const what = h('span', {}, 'Drop, paste or choose a picture')
  const clear = h('button', { type: 'button', class: 'plain', hidden: true, onclick: () => set(undefined) }, 'Remove')
  const zone = h('div', { class: 'zone' }, picture, h('label', { for: id }, what), file, clear)
  function put(v, source, text) {
    value = v
    picture.hidden = !v
    clear.hidden = !v
    if (v) source(picture)
    else picture.removeAttribute('src')
    what.textContent = text
    if (!v) file.value = ''
    zone.dispatchEvent(new Event('input', { bubbles: true }))
  }
  function set(v) {
    if (v === undefined || v === null || v === '') put(undefined, null, 'Drop, paste or choose a picture')
    else if (v.startsWith('data:')) put(v, (e) => { e.src = v }, 'A picture')
    else put(v, (e) => setSource(e, 'view?' + new URLSearchParams({ type: 'input', filename: v.split('/').pop(), subfolder: v.split('/').slice(0, -1).join('/') })), v)
  }
  function take(f) {
    if (!/^image\/(png|jpeg|webp)$/.test(f.type)) { input.error('PNG, JPEG or WebP pictures only'); return }
    if (f.size > 10 << 20) { input.error(`the picture has ${size(f.size)}, the most taken is 10 MiB`); return }
    const reader = new FileReader()
    reader.onload = () => { input.error(''); put(reader.result, (e) => { e.src = reader.result }, f.name + ', ' + size(f.size)) }
    reader.readAsDataURL(f)
  }
  zone.addEventListener('dragover', (e) => { e.preventDefault(); e.stopPropagation(); zone.classList.add('over') })
  zone.addEventListener('dragleave', () => zone.classList.remove('over'))
  zone.addEventListener('drop', (e) => {
    e.preventDefault()
    e.stopPropagation()
    zone.classList.remove('over')
    if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0])
  })
  return { control: zone, focus: file, get: () => value, set, take }
}

function grow(e) {
  e.style.height = 'auto'
  if (e.scrollHeight) e.style.height = Math.min(e.scrollHeight + 2, innerHeight * 0.4) + 'px'
}

export function field(s) {
  const id = 'f' + ++n_fields, label = s.label || title(s.name), start = s.default
  const isSeed = s.type === 'int' && /(^|_)seed$/.test(s.name)
  const f = { name: s.name }
  const error = h('p', { class: 'error', id: id + 'e', hidden: true }), hints = s.description, span = isSeed ? '' : range(s)
  const hint = hints && h('p', { class: 'hint', id: id + 'd', title: hints }, hints)
  const common = { id, name: s.name, required: s.required, 'aria-describedby': [hint && id + 'd', id + 'e'].filter(Boolean).join(' ') }
  let control, focus, extra
  f.error = (text) => {
    error.textContent = text || ''
    error.hidden = !text
    const e = focus || control
    if (text) e.setAttribute('aria-invalid', 'true')
    else e.removeAttribute('aria-invalid')
    if (text) e.focus()
  }
  if (s.type === 'image') {
    const part = imageField(s, id, f)
    Object.assign(f, { get: part.get, set: part.set, take: part.take })
    control = part.control
    focus = part.focus
    focus.setAttribute('aria-describedby', common['aria-describedby'])
    f.check = () => s.required && !f.get() ? 'a picture is needed here' : ''
  } else if (s.type === 'boolean') {
    control = h('input', { ...common, required: false, type: 'checkbox' })
    f.get = () => control.checked
    f.set = (v) => { control.checked = v === true || v === 'true' }
  } else if (s.type === 'choice') {
    const fill = (list) => control.replaceChildren(...list.map((c) => h('option', { value: show(c) }, show(c) === '' ? '(none)' : show(c))))
    control = h('select', common)
    fill(s.choices)
    f.get = () => s.choices.find((c) => show(c) === control.value) ?? control.value
    f.set = (v) => {
      if (v === undefined || v === null) return
      if (!s.choices.some((c) => show(c) === show(v))) {
        control.prepend(h('option', { value: show(v) }, show(v) + ' (not there)'))
        f.error('not there: choose another')
      }
      control.value = show(v)
    }
    control.addEventListener('change', () => f.error(''))
  } else if (s.type === 'int' || s.type === 'float') {
    const whole = s.type === 'int', optional = isSeed && s.random
    control = h('input', { ...common, type: 'text', inputMode: whole ? 'numeric' : 'decimal', autocomplete: 'off', placeholder: optional ? 'random' : null })
    if (isSeed)
      extra = h('button', { type: 'button', class: 'plain', title: optional ? 'A new seed each time' : 'Another seed', 'aria-label': optional ? 'Random seed' : 'Another seed',
        onclick: () => { f.set(optional ? '' : Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)); control.dispatchEvent(new Event('input', { bubbles: true })) } }, '⚄')
    f.get = () => control.value.trim() === '' ? undefined : number(control.value, whole)
    f.set = (v) => { control.value = v === undefined || v === null ? '' : show(v) }
    f.check = () => {
      if (control.value.trim() === '') return optional || !s.required && start !== undefined ? '' : 'a number is needed here'
      const v = f.get()
      if (v === undefined) return whole ? 'a whole number, please' : 'a number, please'
      const at = BigIntOr(v)
      if (s.min !== undefined && s.min !== null && at < BigIntOr(s.min)) return `the least allowed is ${show(s.min)}`
      if (s.max !== undefined && s.max !== null && at > BigIntOr(s.max)) return `the most allowed is ${show(s.max)}`
      return ''
    }
    control.addEventListener('keydown', (e) => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[e.key], v = f.get()
      if (!by || isSeed || typeof v !== 'number') return
      e.preventDefault()
      const step = s.step || (whole ? 1 : 0.1), to = Math.min(Math.max(v + by * step, s.min ?? -Infinity), isBig(s.max) ? Infinity : s.max ?? Infinity)
      f.set(+to.toFixed(6))
      control.dispatchEvent(new Event('input', { bubbles: true }))
    })
  } else {
    control = s.long ? h('textarea', { ...common, rows: s.required || s.name === 'prompt' ? 3 : 1, spellcheck: 'false' }) : h('input', { ...common, type: 'text', autocomplete: 'off', spellcheck: 'false' })
    if (s.long) {
      control.addEventListener('input', () => grow(control))
      new ResizeObserver((seen) => seen[0].contentRect.width && grow(control)).observe(control)
    }
    if (s.folder) {
      extra = h('datalist', { id: id + 'l' })
      control.setAttribute('list', id + 'l')
      namesIn(s.folder).then((names) => extra.append(...names.map((n) => h('option', { value: n }))))
    }
    f.get = () => control.value
    f.set = (v) => { control.value = v ?? ''; if (s.long) requestAnimationFrame(() => grow(control)) }
  }
  f.check ||= () => s.required && f.get() === '' ? 'something is needed here' : ''
  f.set(start)
  ;(focus || control).addEventListener('input', () => f.error(''))
  const name = h('label', { for: id }, label, s.required && h('span', { class: 'need', title: 'required' }, '\u00a0*'), span && h('small', {}, ' ', span))
  f.focus = () => (focus || control).focus()
  f.element = s.type === 'boolean' ? h('div', { class: 'field check' }, control, name, hint, error)
    : h('div', { class: 'field' + (s.long || s.type === 'image' ? ' wide' : isSeed || isBroad(s) ? ' broad' : '') }, name, extra && extra.tagName === 'BUTTON' ? h('div', { class: 'row' }, control, extra) : control,
      extra && extra.tagName === 'DATALIST' && extra, hint, error)
  return f
}

const isBroad = (s) => s.folder || (s.choices || [s.default]).some((c) => typeof c === 'string' && c.length > 14)

// For comparing: BigInt for whole numbers however long, else the number itself (JavaScript compares the two exactly).
function BigIntOr(v) {
  return isBig(v) ? BigInt(show(v)) : Number.isSafeInteger(v) ? BigInt(v) : v
}

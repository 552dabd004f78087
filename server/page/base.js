// What every section uses: elements, requests with the API key, numbers beyond 2^53, small texts.

// ---- elements: h('p', {class: 'x', onclick: f}, 'text', child). Text is never parsed as HTML, here or anywhere else.
export function h(tag, attributes, ...children) {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v === undefined || v === null || v === false) continue
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v)
    else if (k in e && k !== 'list' && k !== 'form' && typeof v !== 'string') e[k] = v
    else if (k === 'value') e.value = v
    else e.setAttribute(k === 'className' ? 'class' : k, v === true ? '' : v)
  }
  e.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false))
  return e
}
export const $ = (id) => document.getElementById(id)

// For those who hear the page instead of seeing it.
export const announce = (text) => { $('said').textContent = text }

export function toast(text, isBad) {
  const t = h('p', { class: isBad ? 'toast bad' : 'toast' }, text)
  $('toasts').append(t)
  setTimeout(() => t.remove(), isBad ? 9000 : 4000)
}

// ---- JSON whose whole numbers may have 64 bits: those above 2^53 live as '\u0001#digits' and go back out as they came.
const MARK = '\u0001#'
export function parse(text) {
  return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (s) =>
    !/^-?\d{16,}$/.test(s) || Number.isSafeInteger(+s) ? s : '"\\u0001#' + s + '"'))
}
export const write = (v, indent) => JSON.stringify(v, null, indent).replace(/"\\u0001#(-?\d+)"/g, '$1')
export const isBig = (v) => typeof v === 'string' && v.startsWith(MARK)
export const show = (v) => isBig(v) ? v.slice(2) : String(v)
// A number from what somebody typed; whole ones keep every digit. undefined: it is none.
export function number(text, isWhole) {
  text = text.trim()
  if (!/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) || (isWhole && !/^[-+]?\d+$/.test(text))) return undefined
  return isWhole && !Number.isSafeInteger(+text) ? MARK + text.replace('+', '') : +text
}

// ---- requests
export class Refused extends Error {
  constructor(status, text, body) {
    super(text)
    this.status = status
    this.field = body && body.field
    this.body = body
  }
}
let key = sessionStorage.getItem('rylagraph-key') || ''
let needsKey = !!key, asking = null
export const keyed = () => needsKey
export const hasKey = () => !!key
export const protocols = () => key
  ? ['rylagraph', 'bearer.' + btoa(String.fromCharCode(...new TextEncoder().encode(key))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')]
  : []

function words(status, text, body) {
  if (body && typeof body === 'object') {
    const e = body.error
    if (body.details || body.detail) return String(body.details || body.detail)
    if (e && e.message) return [e.message, e.details].filter(Boolean).join(': ')
    if (typeof e === 'string') return e
  }
  return (text && text.length < 300 && !/<\w/.test(text) && text.replace(/^\d{3}: [^\n]*\n\s*/, '').trim()) || 'the server answered ' + status
}

// One dialog however many requests were refused; resolves once a key was given.
function askKey() {
  return asking ||= new Promise((done) => {
    const field = h('input', { type: 'password', autocomplete: 'current-password', required: true, id: 'key', 'aria-describedby': 'key-note' })
    const dialog = h('dialog', { class: 'small', 'aria-labelledby': 'key-title' },
      h('form', { onsubmit: (e) => {
        e.preventDefault()
        key = field.value.trim()
        needsKey = true
        sessionStorage.setItem('rylagraph-key', key)
        dialog.close()
        dialog.remove()
        asking = null
        done()
        dispatchEvent(new Event('key'))
      } },
      h('h2', { id: 'key-title' }, 'API key'),
      h('p', { id: 'key-note' }, key ? 'The server does not know this key. Another one?' : 'This server answers only those who have a key. It stays in this tab.'),
      h('label', { for: 'key' }, 'Key'), field,
      h('p', { class: 'buttons' }, h('button', { class: 'primary' }, 'Use it'))))
    dialog.addEventListener('cancel', (e) => e.preventDefault())
    document.body.append(dialog)
    dialog.showModal()
  })
}
export function forgetKey() {
  sessionStorage.removeItem('rylagraph-key')
  location.reload()
}

// A response, or Refused with the server's own words. status 0: it did not answer.
export async function request(path, options = {}) {
  for (;;) {
    const used = key, headers = { ...options.headers }
    if (key) headers.Authorization = 'Bearer ' + key
    let r
    try {
      // no credentials: a browser would ask for a password of its own
      r = await fetch(path, { ...options, headers, credentials: 'omit', cache: options.cache || 'no-cache' })
    } catch (e) {
      if (e.name === 'AbortError') throw e
      throw new Refused(0, 'the server does not answer')
    }
    if (r.status === 401) {
      needsKey = true
      if (key === used) await askKey()
      continue
    }
    if (!r.ok) {
      const text = await r.text()
      let body
      try { body = parse(text) } catch { /* not JSON: the text is what there is */ }
      throw new Refused(r.status, words(r.status, text, body), body)
    }
    return r
  }
}
export const get = async (path) => parse(await (await request(path)).text())
export const post = async (path, body) => parse(await (await request(path, { method: 'POST', body: write(body) })).text() || 'null')
export const url = (parts, ...p) => p.reduce((all, x, i) => all + encodeURIComponent(x) + parts[i + 1], parts[0])

// ---- pictures: an <img> cannot send a key, so with one its bytes are fetched when it comes into view
const seen = new IntersectionObserver((entries) => {
  for (const e of entries) {
    if (!e.isIntersecting) continue
    seen.unobserve(e.target)
    load(e.target)
  }
}, { rootMargin: '400px' })
const wanted = new WeakMap()
async function load(e) {
  try {
    const old = e.src
    e.src = URL.createObjectURL(await (await request(wanted.get(e), { cache: 'default' })).blob())
    if (old.startsWith('blob:')) URL.revokeObjectURL(old)
  } catch { e.dispatchEvent(new Event('error')) }
}
export function setSource(e, path) {
  if (!needsKey) { e.src = path; return }
  wanted.set(e, path)
  if (e.loading === 'lazy') seen.observe(e)
  else load(e)
}
export function media(path, type, alt, lazy) {
  const isVideo = (type || '').startsWith('video/')
  const e = isVideo ? h('video', { controls: !lazy, loop: true, muted: true, autoplay: !lazy, playsInline: true, 'aria-label': alt })
    : h('img', { alt, loading: lazy ? 'lazy' : 'eager', decoding: 'async' })
  e.addEventListener('error', () => e.src && e.replaceWith(h('p', { class: 'gone' }, 'The file is not there any more')), { once: true })
  setSource(e, path)
  return e
}
export async function download(path, name) {
  try { save(await (await request(path, { cache: 'default' })).blob(), name) } catch (e) { toast(e.message, true) }
}
export function save(blob, name) {
  const a = h('a', { href: URL.createObjectURL(blob), download: name })
  a.click()
  setTimeout(() => URL.revokeObjectURL(a.href), 60000)
}

// ---- texts
export const plural = (n, one, many) => n.toLocaleString() + ' ' + (n === 1 ? one : many || one + 's')
export function seconds(s) {
  if (!(s >= 0)) return ''
  if (s < 10) return s.toFixed(s < 0.1 ? 2 : 1) + ' s'
  if (s < 100) return Math.round(s) + ' s'
  return s < 5400 ? Math.round(s / 60) + ' min' : (s / 3600).toFixed(1) + ' h'
}
export const cost = (usd) => !(usd >= 0) ? '' : '$' + (usd === 0 ? '0' : usd < 0.01 ? usd.toFixed(6).replace(/0{1,4}$/, '') : usd.toFixed(3))
export function size(n) {
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (n < 999.5 || unit === 'TB') return (n < 9.95 && unit !== 'B' ? n.toFixed(1) : Math.round(n)) + ' ' + unit
    n /= 1000
  }
}
export function when(t) {
  const d = new Date(t * 1000), today = new Date()
  const time = d.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
  return d.toDateString() === today.toDateString() ? time : d.toLocaleDateString([], { day: 'numeric', month: 'short' }) + ', ' + time
}
export const title = (name) => (name.charAt(0).toUpperCase() + name.slice(1)).replace(/_/g, ' ')

// A job as people see it: one card that changes from waiting to running to its pictures, and the larger view of one that is done.
import { announce, cost, download, get, h, media, plural, post, save, seconds, show, toast, url, when, write } from './base.js'
import { cancel, extra, isActive, progress, refresh, state } from './live.js'

export const output = (j, n, width) => url`jobs/${j.id}/outputs/${n}` + (width ? '?width=' + width : '')
export const nameOf = (j) => j.endpoint || 'workflow'
export const isPicture = (o) => !o.content_type || /^(image|video)\//.test(o.content_type)
const suffix = (o) => ({ 'image/png': 'png', 'image/jpeg': 'jpg', 'image/webp': 'webp', 'video/mp4': 'mp4', 'video/webm': 'webm' })[o.content_type] || 'bin'

export const workflowOf = (j) => get(url`jobs/${j.id}/workflow`)

// Every number given to an input called seed or noise_seed, anew: one new number for all, as one seed made them.
export function reseed(graph) {
  const seed = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)
  let n = 0
  for (const node of Object.values(graph)) {
    for (const k of ['seed', 'noise_seed']) {
      if (node.inputs && (typeof node.inputs[k] === 'number' || typeof node.inputs[k] === 'string')) { node.inputs[k] = seed; n++ }
    }
  }
  return n
}

// Values of an endpoint's parameters, read back from where they were written in a job's graph.
export function parametersOf(endpoint, graph) {
  const values = {}, taken = new Set()
  for (const p of [...endpoint.parameters].reverse()) {
    const at = p.targets && p.targets[0], dot = at ? at.indexOf('.') : -1
    const node = dot > 0 && graph[at.slice(0, dot)], input = at && at.slice(dot + 1)
    let v = node && node.inputs ? node.inputs[input] : undefined
    if (v === undefined || Array.isArray(v) || p.prepend || taken.has(at)) continue
    taken.add(at)
    if (p.format && typeof v === 'string') {
      const [before, after] = p.format.split('{}')
      if (v.startsWith(before) && v.endsWith(after)) v = v.slice(before.length, v.length - after.length)
    }
    values[p.name] = v
  }
  return values
}

// As it was, or with a new seed. An endpoint's job stays one of that endpoint.
export async function runAgain(j, hasNewSeed) {
  try {
    const graph = await workflowOf(j)
    if (hasNewSeed && !reseed(graph)) toast('This workflow has no seed to change')
    let made
    const list = j.endpoint ? (await get('endpoints')).endpoints : [], e = list.find((x) => x.name === j.endpoint)
    if (e && e.parameters) {
      const values = parametersOf(e, graph)
      made = await post('jobs', { endpoint: e.name, parameters: values })
    } else {
      made = await post('jobs', { workflow: graph })
    }
    refresh()
    toast('Accepted')
    return made
  } catch (e) { toast(e.message, true) }
}

export async function saveWorkflow(j) {
  try { save(new Blob([write(await workflowOf(j), 2)], { type: 'application/json' }), `workflow-${j.id.slice(0, 8)}.json`) } catch (e) { toast(e.message, true) }
}

// ---- facts: seed, time, cost, ...
export function facts(j, isLong) {
  const s = j.seconds || {}, rows = []
  const add = (k, v, long) => v !== undefined && v !== null && v !== '' && rows.push(h('div', {}, h('dt', {}, k), h('dd', { title: long || null }, v)))
  add('Seed', j.seed !== undefined && j.seed !== null ? show(j.seed) : '')
  if (j.seconds) add('Time', seconds((s.load || 0) + (s.compute || 0)), `waiting ${seconds(s.wait || 0)}, loading ${seconds(s.load || 0)}, computing ${seconds(s.compute || 0)}`)
  if (j.cost_usd !== undefined) add('Cost', cost(j.cost_usd), 'USD ' + j.cost_usd)
  add('Device', j.gpu_type)
  add('Model', j.model)
  if (isLong) add('Ended', j.ended ? when(j.ended) : '', j.ended && new Date(j.ended * 1000).toLocaleString())
  return h('dl', { class: 'facts' }, rows)
}

const words = { queued: 'Waiting', running: 'Running', done: 'Done', failed: 'Failed', cancelled: 'Cancelled', lost: 'Lost' }
export const badge = (s) => h('span', { class: 'badge ' + s }, words[s] || s)

export function status(j) {
  if (j.state === 'queued') {
    // the server's estimate is so many mean jobs; what the running one really has left is known better here
    const left = progress(state.jobs.find((x) => x.state === 'running') || j).left, mean = j.estimated_seconds / (j.position + 1)
    const about = left === undefined ? j.estimated_seconds : left + (mean || 0) * j.position
    return (j.position ? plural(j.position, 'job') + ' before it' : 'next') + (about ? ', about ' + seconds(about) : '')
  }
  if (j.state === 'running') {
    const p = progress(j)
    return [p.node || 'starting', p.steps > 0 && `step ${p.step} of ${p.steps}`, p.left >= 1 && seconds(p.left) + ' left'].filter(Boolean).join(' · ')
  }
  if (j.state === 'lost') return 'The server has no record of this job: it was started again without a file for its jobs.'
  return j.error || ''
}

export function cancelButton(j) {
  const b = h('button', { type: 'button', class: 'plain', onclick: async () => {
    b.disabled = true
    try { await cancel(j.id) } catch (e) { toast(e.message, true); b.disabled = false }
  } }, 'Cancel')
  b.setAttribute('aria-label', 'Cancel ' + nameOf(j))
  return b
}

// The card of a job on its way. buttons(job): what to offer once it is done.
export function card(job, buttons) {
  const stage = h('div', { class: 'stage' }), line = h('p', { class: 'line' }), bar = h('progress', { max: 1 }), head = h('div', { class: 'head' }), rest = h('div')
  const root = h('article', { class: 'card result', 'aria-label': 'Result of ' + nameOf(job) }, stage, bar, head, rest)
  let shown = '', img
  function update(j) {
    const isOver = !isActive(j)
    if (isOver && shown && shown !== j.state) announce(`${nameOf(j)}: ${words[j.state]}`)
    stage.classList.toggle('empty', !isOver && !extra(j.id).preview)
    if (shown !== j.state) {
      shown = j.state
      head.replaceChildren(badge(j.state), line, !isOver ? cancelButton(j) : '')
      root.setAttribute('aria-busy', String(!isOver))
      if (isOver) {
        const pictures = (j.outputs || []).filter(isPicture), others = (j.outputs || []).filter((o) => !isPicture(o))
        stage.replaceChildren(...pictures.map((o) => h('button', { type: 'button', class: 'picture', 'aria-label': 'Show it larger', onclick: () => open(j, { n: o.n, buttons }) },
          media(output(j, o.n), o.content_type, j.text || nameOf(j)))))
        stage.hidden = !pictures.length
        bar.hidden = true
        rest.replaceChildren(facts(j), ...others.map((o) => h('button', { type: 'button', onclick: () => download(output(j, o.n), `${nameOf(j)}-${o.n}.${suffix(o)}`) }, 'Save file ' + (o.n + 1))),
          h('p', { class: 'buttons' }, buttons(j)))
      }
    }
    const text = status(j)
    if (line.textContent !== text) line.textContent = text
    line.classList.toggle('bad', j.state === 'failed' || j.state === 'lost')
    if (isOver) return
    stage.dataset.text = j.state === 'queued' ? 'Waiting' : 'Running'
    const p = progress(j), x = extra(j.id)
    bar.hidden = j.state !== 'running'
    if (p.share !== undefined) bar.value = p.share
    else bar.removeAttribute('value')
    if (x.preview) {
      img ||= h('img', { class: 'preview', alt: 'Preview' })
      if (img.src !== x.preview) img.src = x.preview
      if (!img.isConnected) stage.replaceChildren(img)
    }
  }
  update(job)
  return { element: root, update }
}

// ---- one job, large
export function open(j, { n = 0, buttons, previous, next, onclose } = {}) {
  const pictures = (j.outputs || []).filter(isPicture)
  let at = Math.max(0, pictures.findIndex((o) => o.n === n))
  const stage = h('div', { class: 'stage' }), strip = h('div', { class: 'strip' })
  const dialog = h('dialog', { class: 'large', 'aria-label': j.text || nameOf(j) })
  const close = () => dialog.close()
  function step(by, other) {
    if (at + by >= 0 && at + by < pictures.length) { at += by; draw() }
    else if (other) { replaced = true; close(); other() }
  }
  let replaced = false
  function draw() {
    const o = pictures[at]
    stage.replaceChildren(o ? media(output(j, o.n), o.content_type, j.text || nameOf(j)) : h('p', { class: 'gone' }, 'No picture'))
    strip.replaceChildren(...(pictures.length < 2 ? [] : pictures.map((p, i) => h('button', { type: 'button', 'aria-label': `Picture ${i + 1} of ${pictures.length}`, 'aria-current': i === at ? 'true' : null,
      onclick: () => { at = i; draw() } }, media(output(j, p.n, 160), p.content_type, '', true)))))
    keep.onclick = () => download(output(j, o.n) + '?metadata=1', `${nameOf(j)}-${j.id.slice(0, 8)}-${o.n}.${suffix(o)}`)
    keep.hidden = !o
  }
  const keep = h('button', { type: 'button' }, 'Save picture')
  const text = h('p', { class: 'prompt' }, j.text || '')
  dialog.append(stage, h('div', { class: 'side' },
    h('div', { class: 'head' }, h('h2', {}, nameOf(j)), h('button', { type: 'button', class: 'plain', 'aria-label': 'Close', onclick: close }, '✕')),
    text, facts(j, true), strip, h('p', { class: 'buttons' }, keep, buttons(j, close)),
    previous || next ? h('p', { class: 'pager' }, h('button', { type: 'button', disabled: !previous, onclick: () => step(-9999, previous) }, '← Newer'), h('button', { type: 'button', disabled: !next, onclick: () => step(9999, next) }, 'Older →')) : ''))
  dialog.addEventListener('keydown', (e) => {
    if (e.target.matches('input,textarea,select,video')) return
    if (e.key === 'ArrowLeft') step(-1, previous)
    if (e.key === 'ArrowRight') step(1, next)
  })
  dialog.addEventListener('click', (e) => e.target === dialog && close())
  dialog.addEventListener('close', () => { dialog.remove(); if (!replaced && onclose) onclose() })
  draw()
  document.body.append(dialog)
  dialog.showModal()
}

// What runs, what waits, and how the last ones ended.
import { cost, h, plural, seconds, show, toast, when } from './base.js'
import { badge, cancelButton, nameOf, open, saveWorkflow, status } from './job.js'
import { offers } from './gallery.js'
import { cancel, extra, isActive, live, progress, state } from './live.js'

// Rows by job id: kept while the job stays, so that focus and pictures do.
function list(make) {
  const root = h('ul', { class: 'jobs' }), rows = new Map()
  return {
    root,
    set(jobs) {
      const ids = new Set(jobs.map((j) => j.id))
      for (const [id, r] of rows) if (!ids.has(id)) { r.element.remove(); rows.delete(id) }
      jobs.forEach((j, i) => {
        let r = rows.get(j.id)
        if (!r) rows.set(j.id, r = make(j))
        r.update(j)
        if (root.children[i] !== r.element) root.insertBefore(r.element, root.children[i] || null)
      })
    }
  }
}

const label = (j) => h('div', { class: 'what' }, h('b', {}, nameOf(j)), j.text ? h('span', { class: 'text', title: j.text }, j.text) : '')

function activeRow(j) {
  const line = h('p', { class: 'line' }), bar = h('progress', { max: 1, 'aria-label': 'Progress' }), img = h('img', { class: 'preview', alt: 'Preview', hidden: true }), mark = h('span')
  const element = h('li', { class: 'card' }, img, h('div', { class: 'body' }, h('div', { class: 'head' }, mark, label(j), cancelButton(j)), line, bar))
  let was
  return { element, update(j) {
    if (was !== j.state) mark.replaceChildren(badge(was = j.state))
    const p = progress(j), x = extra(j.id), text = status(j)
    if (line.textContent !== text) line.textContent = text
    bar.hidden = j.state !== 'running'
    if (p.share !== undefined) bar.value = p.share
    else bar.removeAttribute('value')
    img.hidden = !x.preview
    if (x.preview && img.src !== x.preview) img.src = x.preview
  } }
}

function endedRow(j) {
  const s = j.seconds || {}
  const element = h('li', { class: 'ended' }, badge(j.state), label(j),
    h('span', { class: 'line' }, [j.ended && when(j.ended), j.state === 'done' && seconds((s.load || 0) + (s.compute || 0)), j.state === 'done' && cost(j.cost_usd), j.seed !== undefined && j.seed !== null && 'seed ' + show(j.seed)].filter(Boolean).join(' · ')),
    j.error ? h('p', { class: j.state === 'failed' ? 'line bad' : 'line' }, j.error) : '',
    h('span', { class: 'buttons' }, j.state === 'done' && j.outputs.length ? h('button', { type: 'button', class: 'plain', onclick: () => open(j, { buttons: offers }) }, 'Show') : h('button', { type: 'button', class: 'plain', onclick: () => saveWorkflow(j) }, 'Workflow')))
  return { element, update() {} }
}

export function queue(main) {
  const active = list(activeRow), ended = list(endedRow), none = h('p', { class: 'nothing' }, 'Nothing runs or waits.'), more = h('p', { class: 'end' })
  const all = h('button', { type: 'button', class: 'plain', hidden: true, onclick: async () => {
    all.disabled = true
    for (const j of state.jobs.filter((x) => x.state === 'queued')) {
      try { await cancel(j.id) } catch (e) { if (e.status !== 409) { toast(e.message, true); break } }
    }
    all.disabled = false
  } }, 'Cancel all that wait')
  const recent = h('section', {}, h('h2', {}, 'Lately'), ended.root)
  main.replaceChildren(h('div', { class: 'head' }, h('h1', {}, 'Queue'), all), none, active.root, more, recent)
  function draw() {
    if (!none.isConnected) { live.removeEventListener('change', draw); return }
    const now = state.jobs.filter(isActive), over = state.jobs.filter((j) => !isActive(j)).slice(0, 30)
    none.hidden = !state.loaded || !!now.length
    all.hidden = now.filter((j) => j.state === 'queued').length < 2
    active.set(now)
    ended.set(over)
    recent.hidden = !over.length
    const rest = state.remaining - now.length
    more.textContent = state.jobs.length === now.length && rest > 0 && now.length ? `and ${plural(rest, 'more job')}` : ''
  }
  live.addEventListener('change', draw)
  draw()
}

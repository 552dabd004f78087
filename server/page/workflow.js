// A workflow from a file: what is in it, what is missing, its prompts and seeds to change, and its run node by node.
import { get, h, isBig, parse, plural, post, request, save, show, title, toast, url, write } from './base.js'
import { field } from './fields.js'
import { extra, follow, live } from './live.js'
import { card, saveWorkflow, workflowOf } from './job.js'

let loaded                                      // {name, answer, graph, view}: stays while the page is open

// ---- taking one in
export async function take(file) {
  if (file.size > 50e6) { toast('That file is too large for a workflow', true); return }
  await inspect(file.name, file)
}
export async function openGraph(j) {
  try { await inspect(`workflow of ${j.endpoint || 'job'} ${j.id.slice(0, 8)}`, write(await workflowOf(j))) } catch (e) { toast(e.message, true) }
}
async function inspect(name, body) {
  location.hash = '#/workflow'
  loaded = { name, isBusy: true }
  redraw()
  try {
    const answer = parse(await (await request('workflow/check', { method: 'POST', body })).text())
    loaded = { name, answer, graph: answer.workflow }
    await describe(loaded)
  } catch (e) { loaded = { name, error: e.message } }
  redraw()
}

// ---- the node table of the classes in it: which inputs are texts, numbers, lists
const classes = new Map()
async function describe(w) {
  const names = [...new Set(Object.values(w.graph).map((n) => n.class_type))].filter((n) => typeof n === 'string' && !classes.has(n))
  await Promise.all(names.map(async (n) => {
    try { classes.set(n, (await get(url`object_info/${n}`))[n] || null) } catch { /* its inputs are shown by their values */ }
  }))
}
function specOf(name, value, declared) {
  const kind = declared && declared[0], o = declared && declared[1] || {}, base = { name, default: value, min: o.min, max: o.max, step: o.step }
  const list = Array.isArray(kind) ? kind : kind === 'COMBO' ? o.options : null
  if (list && list.length) return { ...base, type: 'choice', choices: list }
  if (kind === 'INT' || (!kind && (isBig(value) || Number.isInteger(value)))) return { ...base, type: 'int' }
  if (kind === 'FLOAT' || (!kind && typeof value === 'number')) return { ...base, type: 'float' }
  if (typeof value === 'boolean') return { ...base, type: 'boolean' }
  return { ...base, type: 'string', long: !!o.multiline || String(value).length > 60 }
}
const isSeed = (k) => k === 'seed' || k === 'noise_seed'

function editors(w) {
  const first = [], others = [], all = []
  for (const [id, node] of Object.entries(w.graph)) {
    if (!node || typeof node !== 'object' || !node.inputs) continue
    const info = classes.get(node.class_type), declared = info ? { ...info.input.required, ...info.input.optional } : {}, mine = []
    for (const [k, v] of Object.entries(node.inputs)) {
      if (v === null || typeof v === 'object') continue
      const s = specOf(k, v, declared[k]), name = (node._meta && node._meta.title) || node.class_type
      const isMain = s.long || isSeed(k)
      const f = field({ ...s, label: isMain ? (s.long ? name : `${title(k)} · ${name}`) : title(k) })
      f.put = () => { node.inputs[k] = f.get() ?? v }
      if (isSeed(k)) f.isSeed = true
      all.push(f)
      ;(isMain ? first : mine).push(f)
    }
    if (mine.length) others.push(h('fieldset', {}, h('legend', {}, `${(node._meta && node._meta.title) || node.class_type} `, h('small', {}, id)), h('div', { class: 'grid' }, mine.map((f) => f.element))))
  }
  return { first, others, all }
}

// ---- the run, node by node
function nodeList(w) {
  const rows = new Map(Object.entries(w.graph).map(([id, n]) => {
    const bar = h('progress', { max: 1, value: 0, hidden: true }), mark = h('span', { class: 'mark' })
    const e = h('li', {}, mark, h('span', { class: 'what' }, (n._meta && n._meta.title) || n.class_type, ' ', h('small', {}, n._meta && n._meta.title ? n.class_type : id)), bar)
    return [id, { e, bar, mark }]
  }))
  const words = { finished: ['✓', 'done'], running: ['▸', 'running'], cached: ['✓', 'not run again: nothing it depends on has changed'] }
  return { element: h('ol', { class: 'nodes' }, [...rows.values()].map((r) => r.e)), update(j) {
    const nodes = extra(j.id).nodes || {}
    const seen = {}
    for (const n of Object.values(nodes)) {
      const id = n.display_node_id || n.node_id
      if (!seen[id] || n.state === 'running') seen[id] = n
    }
    for (const [id, r] of rows) {
      const n = seen[id], s = n ? n.state : j.state === 'done' ? 'cached' : ''
      r.e.className = s
      r.mark.textContent = (words[s] || ['·'])[0]
      r.mark.title = (words[s] || ['', 'waiting'])[1]
      r.bar.hidden = !(n && n.state === 'running' && n.max > 1)
      if (n && n.max > 0) r.bar.value = n.value / n.max
    }
  } }
}

function drawLoaded(w) {
  const a = w.answer, nodes = Object.values(w.graph), counts = new Map(), gone = new Set((a.missing_nodes || []).map((m) => m.class_type))
  for (const n of nodes) counts.set(n.class_type, (counts.get(n.class_type) || 0) + 1)
  const e = editors(w), message = h('p', { class: 'error', role: 'alert', hidden: true }), button = h('button', { class: 'primary', disabled: !!gone.size }, 'Run')
  const place = h('div'), isNew = { api: 'API form', editor: 'as the editor saves it', picture: 'from a picture', template: 'a template' }[a.kind] || ''
  async function run(event) {
    event.preventDefault()
    message.hidden = true
    for (const f of e.all) {
      const wrong = f.check()
      if (wrong) {
        f.element.closest('details')?.setAttribute('open', '')
        f.error(wrong)
        return
      }
      f.put()
    }
    button.disabled = true
    try {
      const job = await post('jobs', { workflow: w.graph }), list = nodeList(w)
      const c = card(job, (j) => [
        h('button', { type: 'button', onclick: () => { const s = e.all.filter((f) => f.isSeed); s.forEach((f) => f.set(Math.floor(Math.random() * Number.MAX_SAFE_INTEGER))); form.requestSubmit() } }, 'Again, new seed'),
        j.state !== 'lost' ? h('button', { type: 'button', onclick: () => saveWorkflow(j) }, 'Workflow') : ''])
      place.replaceChildren(c.element, list.element)
      list.update(job)
      follow(job, (j) => { c.update(j); list.update(j) })
      if (innerWidth < 900) place.scrollIntoView({ behavior: 'smooth' })
    } catch (x) { message.textContent = x.message; message.hidden = false }
    button.disabled = false
  }
  const form = h('form', { class: 'card', novalidate: true, 'aria-label': 'Workflow', onsubmit: run },
    h('div', { class: 'head' }, h('h2', {}, w.name), h('button', { type: 'button', class: 'plain', onclick: () => { loaded = null; redraw() } }, 'Close')),
    h('p', { class: 'about' }, [plural(nodes.length, 'node'), isNew].filter(Boolean).join(', ')),
    h('p', { class: 'chips' }, [...counts].map(([c, n]) => h('span', { class: gone.has(c) ? 'chip bad' : 'chip' }, String(c), n > 1 ? ` ×${n}` : ''))),
    a.problems.length ? h('div', { class: 'notice' }, h('p', {}, a.valid ? 'Some of it will not run:' : plural(a.problems.length, 'problem') + ':'), h('ul', {}, a.problems.map((p) => h('li', {}, p)))) : '',
    h('div', { class: 'grid' }, e.first.map((f) => f.element)),
    e.others.length ? h('details', {}, h('summary', {}, 'Everything else'), e.others) : '',
    message,
    h('p', { class: 'buttons' }, button, h('button', { type: 'button', onclick: () => { for (const f of e.all) f.put(); save(new Blob([write(w.graph, 2)], { type: 'application/json' }), 'workflow.json') } }, 'Save as API file')))
  return h('div', { class: 'two' }, form, h('section', { class: 'results', 'aria-label': 'Result' }, place))
}

let root
function redraw() {
  if (!root || !root.isConnected) return
  const pick = h('input', { type: 'file', class: 'hidden', id: 'file', accept: '.json,.png,.webp,.jpg,.jpeg', onchange: () => pick.files[0] && take(pick.files[0]) })
  if (loaded && loaded.graph) { root.replaceChildren(loaded.view ||= drawLoaded(loaded)); return }
  root.replaceChildren(h('div', { class: 'nothing stage empty' },
    loaded && loaded.isBusy ? h('p', {}, 'Reading ' + loaded.name) : h('div', {}, loaded && loaded.error ? h('p', { class: 'error' }, `${loaded.name}: ${loaded.error}`) : '',
      h('p', {}, 'Drop a workflow anywhere on this page: API form, as the editor saves it, or a picture that carries one.'), pick, h('p', {}, h('label', { for: 'file', class: 'button', tabIndex: 0,
        onkeydown: (k) => (k.key === 'Enter' || k.key === ' ') && (k.preventDefault(), pick.click()) }, 'Choose a file')))))
}
export function workflow(main) {
  root = h('div')
  main.replaceChildren(h('h1', {}, 'Workflow'), root)
  redraw()
}
live.addEventListener('online', () => classes.clear())

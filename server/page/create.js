// Endpoints: a form from each parameter table, and what came of it.
import { Refused, get, h, plural, post, toast, write } from './base.js'
import { field } from './fields.js'
import { follow } from './live.js'
import { card, parametersOf, saveWorkflow, workflowOf } from './job.js'

const forms = new Map()                         // endpoint name -> {element, fields, ...}: what was typed stays while the page is open
const results = h('section', { class: 'results', 'aria-label': 'Results' })
let endpoints, broken = [], current, missing = new Map()

const isLong = (p) => p.type === 'string' && !p.choices && !p.folder && /prompt|text|caption|description/.test(p.name)

function spec(p) {
  return { ...p, long: isLong(p), type: p.type === 'string' && p.choices ? 'choice' : p.type, random: p.name === 'seed', default: p.name === 'seed' ? undefined : p.default }
}

function trouble(e) {
  const m = missing.get(e.name) || {}, out = []
  if (e.missing_nodes) out.push(h('p', {}, 'This program does not have the nodes it needs: ', h('b', {}, e.missing_nodes), '.'))
  if (m.missing_files && m.missing_files.length)
    out.push(h('p', {}, plural(m.missing_files.length, 'model file is', 'model files are'), ' not there:'), h('ul', {}, m.missing_files.map((f) => h('li', {}, h('code', {}, f)))),
      m.fetch && h('p', {}, 'To get them: ', h('code', {}, m.fetch)), h('p', {}, m.fetch ? 'When they are there, ' : 'Put them into the models folder, then ', h('button', { type: 'button', class: 'link', onclick: () => check() }, 'look again'), '.'))
  return out
}

function makeForm(e) {
  const fields = e.parameters.map((p) => field(spec(p)))
  const notice = h('div', { class: 'notice', hidden: true }), message = h('p', { class: 'error', role: 'alert', hidden: true })
  const button = h('button', { class: 'primary' }, 'Run')
  const all = h('fieldset', {}, h('legend', { class: 'hidden' }, 'Parameters of ' + e.name), h('div', { class: 'grid' }, fields.map((f) => f.element)), message,
    h('p', { class: 'buttons' }, button, h('kbd', {}, 'Ctrl ⏎')))
  const element = h('form', { class: 'card', novalidate: true, 'aria-label': e.name, onsubmit: (event) => { event.preventDefault(); run() },
    onkeydown: (k) => { if (k.key === 'Enter' && (k.ctrlKey || k.metaKey)) { k.preventDefault(); run() } } },
  h('p', { class: 'about' }, e.description || ''), notice, all)
  const form = { e, element, fields, set }
  function set(values) {
    for (const f of fields) {
      const p = e.parameters.find((x) => x.name === f.name)
      f.set(f.name in values ? values[f.name] : f.name === 'seed' ? undefined : p.default)
      f.error('')
    }
  }
  form.say = () => {
    const t = trouble(e)
    notice.replaceChildren(...t)
    notice.hidden = !t.length
    all.disabled = !!t.length
  }
  let isBusy = false
  async function run() {
    if (isBusy || all.disabled) return
    const values = {}
    message.hidden = true
    for (const f of fields) {
      const wrong = f.check()
      f.error(wrong)
      if (wrong) return
      const v = f.get()
      if (v !== undefined) values[f.name] = v
    }
    isBusy = true
    button.setAttribute('aria-busy', 'true')
    try {
      show(await post('jobs', { endpoint: e.name, parameters: values }), e)
    } catch (x) {
      const f = x.field && fields.find((y) => y.name === x.field)
      if (f) f.error(x.message)
      else { message.textContent = x.message; message.hidden = false }
    }
    isBusy = false
    button.removeAttribute('aria-busy')
  }
  form.run = run
  form.say()
  return form
}

// What a finished job of an endpoint offers.
export const again = (j, close = () => {}) => [
  h('button', { type: 'button', title: 'Runs the form as it stands now', onclick: () => { close(); keepSeed(j) } }, j.seed === null || j.seed === undefined ? 'Again' : 'Again with this seed'),
  j.state !== 'lost' && h('button', { type: 'button', onclick: () => { close(); fill(j) } }, 'Open in form'),
  j.state !== 'lost' && h('button', { type: 'button', onclick: () => saveWorkflow(j) }, 'Workflow')].filter(Boolean)

// The form as it stands, with the seed of an earlier picture: what else was changed since shows its effect.
function keepSeed(j) {
  const form = forms.get(j.endpoint), f = form && form.fields.find((x) => x.name === 'seed')
  if (!f) { fill(j).then((x) => x && x.run()); return }
  if (j.seed !== null) f.set(j.seed)
  form.run()
}

// Show the form of a job's endpoint with the job's values.
export async function fill(j) {
  try {
    const graph = await workflowOf(j)
    await load()
    const e = endpoints.find((x) => x.name === j.endpoint)
    if (!e) throw new Refused(404, `there is no endpoint ${j.endpoint} any more`)
    location.hash = '#/create/' + encodeURIComponent(e.name)
    const form = formOf(e)
    form.set(parametersOf(e, graph))
    return form
  } catch (x) { toast(x.message, true) }
}

function show(job, e) {
  const c = card(job, again)
  results.querySelector('.nothing')?.remove()
  results.prepend(c.element)
  while (results.children.length > 12) results.lastChild.remove()
  follow(job, c.update)
  if (innerWidth < 900) c.element.scrollIntoView({ behavior: 'smooth', block: 'nearest' })
}

function formOf(e) {
  const is = write(e)
  if (forms.get(e.name)?.is !== is) forms.set(e.name, { ...makeForm(e), is })
  return forms.get(e.name)
}

// Files of endpoints come, change and go while the server runs: asked for each time, and a form stays while its endpoint does.
async function load() {
  const all = await get('endpoints')
  endpoints = all.endpoints.map((e) => ({ ...e, parameters: e.parameters || [] }))
  broken = all.problems || []
}

// Which files are missing takes the server a look into its folders, so the forms are there first.
async function check() {
  try {
    missing = new Map((await get('health?deep=1')).endpoints.map((e) => [e.name, e]))
    for (const f of forms.values()) f.say()
    for (const a of document.querySelectorAll('.choose a')) a.classList.toggle('off', missing.get(a.dataset.name)?.ready === false)
  } catch { /* the forms work without it */ }
}

const tabs = (name) => endpoints.map((x) => h('a', { href: '#/create/' + encodeURIComponent(x.name), class: x.missing_nodes || missing.get(x.name)?.ready === false ? 'off' : null,
  'data-name': x.name, 'aria-current': x.name === name ? 'page' : null }, x.name))

let turns = 0
export async function create(main, name) {
  const turn = ++turns, list = h('nav', { class: 'choose', 'aria-label': 'Endpoints' }), place = h('div')
  if (!results.children.length) results.append(h('div', { class: 'nothing stage empty' }, h('p', {}, 'What you run appears here.')))
  main.replaceChildren(h('div', { class: 'two' }, h('section', { 'aria-label': 'Endpoint' }, h('h1', { class: 'hidden' }, 'Create'), list, place), results))
  if (endpoints) list.append(...tabs(name))
  try {
    await load()
  } catch (e) {
    place.replaceChildren(h('p', { class: 'notice bad' }, e.message))
    return
  }
  if (turn !== turns) return                    // another section or endpoint was chosen meanwhile
  if (!endpoints.length) {
    place.replaceChildren(h('p', { class: 'notice' }, 'There are no endpoints: the server found no templates in its workflows folder.'))
    return
  }
  const e = endpoints.find((x) => x.name === name) || endpoints.find((x) => x.name === current) || endpoints.find((x) => !x.missing_nodes) || endpoints[0]
  current = e.name
  list.replaceChildren(...tabs(e.name))
  place.replaceChildren(formOf(e).element)
  if (broken.length) place.append(h('details', { class: 'notice' }, h('summary', {}, plural(broken.length, 'endpoint file is', 'endpoint files are') + ' no good'), broken.map((b) => h('p', {}, typeof b === 'string' ? b : write(b)))))
  check()
}

// A picture pasted anywhere on this section goes to the form's first picture field that is empty.
document.addEventListener('paste', (event) => {
  const file = [...(event.clipboardData?.files || [])].find((f) => f.type.startsWith('image/')), form = forms.get(current)
  if (!file || !form || !form.element.isConnected) return
  const f = form.fields.find((x) => x.take && !x.get()) || form.fields.find((x) => x.take)
  if (f) { event.preventDefault(); f.take(file) }
})

// The server itself: version, device, memory, totals, and the model files it can see.
import { forgetKey, get, h, hasKey, plural, request, size, toast, url } from './base.js'
import { forgetFolders } from './fields.js'

function metric(text, name, labels = '') {
  const m = text.match(new RegExp(`^rylagraph_${name}${labels.replace(/[{}]/g, '\\$&')} (\\S+)`, 'm'))
  return m ? +m[1] : undefined
}
const days = (s) => s > 172800 ? plural(Math.floor(s / 86400), 'day') : s > 7200 ? plural(Math.floor(s / 3600), 'hour') : plural(Math.max(1, Math.round(s / 60)), 'minute')

function meter(used, total, text) {
  return h('div', { class: 'memory' }, h('meter', { min: 0, max: total, value: used, 'aria-label': text }), h('span', {}, text))
}

export async function about(main) {
  const facts = h('dl', { class: 'facts' }), models = h('div', { class: 'models' }), memory = h('div')
  const free = h('button', { type: 'button', onclick: async () => {
    try {
      await request('free', { method: 'POST', body: '{"unload_models": true, "free_memory": true}' })
      toast('Models are let go once nothing runs')
    } catch (e) { toast(e.message, true) }
  } }, 'Let go of loaded models')
  main.replaceChildren(h('h1', {}, 'Server'), h('section', { class: 'card' }, facts, memory, h('p', { class: 'buttons' }, free, hasKey() ? h('button', { type: 'button', onclick: forgetKey }, 'Forget the API key') : '')),
    h('section', {}, h('div', { class: 'head' }, h('h2', {}, 'Models'), h('button', { type: 'button', class: 'plain', onclick: () => { forgetFolders(); list() } }, 'Look again')), models),
    h('p', { class: 'end' }, ['docs', 'openapi.json', 'metrics', 'object_info', 'history', 'system_stats'].map((p) => [h('a', { href: p, target: '_blank', rel: 'noreferrer' }, '/' + p), ' '])))
  const add = (k, v) => v && facts.append(h('div', {}, h('dt', {}, k), h('dd', {}, v)))
  async function stats() {
    try {
      const [health, stats, metrics] = await Promise.all([get('health'), get('system_stats'), request('metrics').then((r) => r.text())])
      const d = stats.devices[0] || {}, gpu = (metrics.match(/^rylagraph_cost_usd_total\{gpu="([^"]*)"\} (\S+)/m) || [])
      facts.replaceChildren()
      add('Version', health.version)
      add('Speaks', 'ComfyUI ' + stats.system.comfyui_version)
      add('Device', d.type === 'cpu' ? 'CPU' : [d.name, gpu[1]].filter(Boolean).join(', '))
      add('Up for', days(metric(metrics, 'uptime_seconds') || 0))
      add('Queue', `${health.running} running, ${health.queued} waiting`)
      add('Done', `${metric(metrics, 'jobs_ended_total', '{state="done"}') ?? 0}`)
      add('Failed', `${metric(metrics, 'jobs_ended_total', '{state="failed"}') || ''}`)
      add('Cost so far', gpu[2] !== undefined ? '$' + (+gpu[2]).toFixed(4) : '')
      const used = stats.system.ram_total - stats.system.ram_free
      memory.replaceChildren(meter(used, stats.system.ram_total, `Memory: ${size(used)} of ${size(stats.system.ram_total)} used on this machine`),
        d.type !== 'cpu' && d.vram_total ? meter(d.vram_total - d.vram_free, d.vram_total, `Device: ${size(d.vram_total - d.vram_free)} of ${size(d.vram_total)} used`) : '')
    } catch (e) { facts.replaceChildren(h('p', { class: 'error' }, e.message)) }
  }
  async function list() {
    models.setAttribute('aria-busy', 'true')
    try {
      const folders = await get('experiment/models')
      const lists = await Promise.all(folders.map((f) => get(url`experiment/models/${f.name}`).catch(() => [])))
      const some = folders.map((f, i) => [f.name, lists[i]]).filter((x) => x[1].length)
      models.replaceChildren(...some.map(([name, files]) => h('details', { open: files.length < 30 }, h('summary', {}, name, ' ', h('small', {}, files.length)),
        h('ul', {}, files.map((f) => h('li', {}, h('span', {}, f.name), f.size ? h('small', {}, size(f.size)) : ''))))))
      if (!some.length) models.append(h('p', { class: 'nothing' }, 'The models folders are empty.'))
    } catch (e) { models.replaceChildren(h('p', { class: 'error' }, e.message)) }
    models.removeAttribute('aria-busy')
  }
  stats()
  list()
  const timer = setInterval(() => facts.isConnected ? document.hidden || stats() : clearInterval(timer), 5000)
}

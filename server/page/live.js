// What the server is doing, kept up to date: GET /jobs says what there is, the WebSocket says at once what changes and carries
// previews. Without a socket (a proxy that has none) asking every second does. A server that goes away is waited for.
import { $, get, parse, protocols, request, url } from './base.js'

export const live = new EventTarget()           // 'change': jobs, progress or previews differ
export const state = { jobs: [], remaining: 0, online: true, loaded: false, error: '' }
const extras = new Map()                        // job id -> {nodes, preview, value, max, at}: what only the socket tells
const followed = new Map()                      // job id -> last known, until it has ended
const LIMIT = 100

export const isActive = (j) => j.state === 'queued' || j.state === 'running'
export const extra = (id) => extras.get(id) || {}

let frame = 0
function changed() {
  frame ||= requestAnimationFrame(() => {
    frame = 0
    live.dispatchEvent(new Event('change'))
  })
  if (document.hidden) { cancelAnimationFrame(frame); frame = 0; live.dispatchEvent(new Event('change')) }
}

// ---- asking
let isAsking = false, mustAsk = false, next
export async function refresh() {
  if (isAsking) { mustAsk = true; return }
  isAsking = true
  mustAsk = false
  try {
    let jobs
    try {
      jobs = (await get('jobs?limit=' + LIMIT)).jobs
    } catch (e) {
      if (e.status !== 403) throw e
      jobs = []                                 // a key that may only call endpoints: of the jobs it sees its own, by their ids
    }
    const known = new Map(jobs.map((j) => [j.id, j]))
    for (const id of followed.keys()) {
      let j = known.get(id)
      if (!j) {
        try { j = await get(url`jobs/${id}`) } catch (e) {
          if (e.status !== 404) throw e
          j = { ...followed.get(id), state: 'lost', outputs: [] }
        }
      }
      followed.set(id, j)
    }
    state.jobs = jobs
    state.loaded = true
    state.error = ''
    for (const [id, x] of extras) {
      const j = known.get(id)
      if (j && isActive(j)) continue
      if (x.preview) URL.revokeObjectURL(x.preview)
      if (!followed.has(id)) extras.delete(id)
      else x.preview = null
    }
    setOnline(true)
  } catch (e) {
    if (e.status === 0) setOnline(false)
    else state.error = e.message
    if (e.status === undefined) console.error(e)
  }
  isAsking = false
  changed()
  schedule(mustAsk ? 150 : 0)
}
function schedule(ms) {
  clearTimeout(next)
  const active = state.jobs.some(isActive)
  next = setTimeout(refresh, ms || (!state.online ? 2000 : document.hidden ? 20000 : active ? 1000 : isOpen ? 20000 : 3000))
}

// Follow a job until it ends; f(job) on every change, the last time with its end. Returns a function that stops it.
export function follow(job, f) {
  followed.set(job.id, job)
  let last
  const on = () => {
    const j = followed.get(job.id) || job
    const over = !isActive(j)
    if (over && last === j) return
    last = j
    if (over) stop()
    f(j)
  }
  const stop = () => {
    live.removeEventListener('change', on)
    followed.delete(job.id)
  }
  live.addEventListener('change', on)
  refresh()
  return stop
}

// ---- the socket
let socket, isOpen = false, wait = 500, reopen
function open() {
  clearTimeout(reopen)
  if (socket) { socket.onclose = socket.onmessage = null; socket.close() }
  const id = 'page-' + Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join('')
  socket = new WebSocket(new URL('ws?clientId=' + id, location.href).href.replace(/^http/, 'ws').replace(/#.*/, ''), protocols())
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => {
    isOpen = true
    wait = 500
    socket.send(JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true } }))
    refresh()
  }
  socket.onmessage = (e) => typeof e.data === 'string' ? hear(parse(e.data)) : preview(e.data)
  socket.onclose = () => {
    isOpen = false
    refresh()                                   // says whether the server is gone, or only the socket
    reopen = setTimeout(open, wait)
    wait = Math.min(2 * wait, 8000)
  }
}
const entry = (id) => extras.get(id) || (extras.set(id, {}), extras.get(id))
let last = 0
function hear({ type, data }) {
  if (type === 'status') {
    state.remaining = data.status.exec_info.queue_remaining
    const now = performance.now()
    if (now - last > 400) { last = now; refresh() } else schedule(400)
  } else if (type === 'progress_state') {
    entry(data.prompt_id).nodes = data.nodes
  } else if (type === 'progress') {
    const x = entry(data.prompt_id)
    if (!(data.value > x.value && x.node === data.node)) Object.assign(x, { from: performance.now(), first: data.value })
    Object.assign(x, { value: data.value, max: data.max, node: data.node, at: performance.now() })
  } else return
  changed()
}
// 4 bytes type, then: 4, the length of a JSON and a picture; or 1, the picture's kind and a picture.
function preview(bytes) {
  const view = new DataView(bytes)
  if (bytes.byteLength < 9) return
  let id, at = 8, type = 'image/jpeg'
  if (view.getUint32(0) === 4) {
    at += view.getUint32(4)
    const meta = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, at - 8)))
    id = meta.prompt_id
    type = meta.image_type
  } else {
    id = state.jobs.find((j) => j.state === 'running')?.id
    if (view.getUint32(4) === 2) type = 'image/png'
  }
  if (!id) return
  const x = entry(id)
  if (x.preview) URL.revokeObjectURL(x.preview)
  x.preview = URL.createObjectURL(new Blob([new Uint8Array(bytes, at)], { type }))
  changed()
}

function setOnline(on) {
  if (state.online !== on) live.dispatchEvent(new Event(on ? 'online' : 'offline'))
  state.online = on
}

// ---- what a job is up to, in words and as a share of its work
export function progress(j) {
  const x = extra(j.id), isHere = x.max > 0 && (!j.node || j.node === x.node)
  const step = isHere ? x.value : j.step, steps = isHere ? x.max : j.steps
  if (j.state !== 'running') return {}
  const rate = isHere && x.value > x.first ? (x.at - x.from) / 1000 / (x.value - x.first) : 0
  return { node: j.class_type, step, steps, share: steps > 0 ? step / steps : undefined, left: rate > 0 && step < steps ? rate * (steps - step) : undefined }
}
export async function cancel(id) {
  await request(url`jobs/${id}`, { method: 'DELETE' })
  refresh()
}

export function start() {
  live.addEventListener('change', () => {
    const running = state.jobs.find((j) => j.state === 'running'), p = running && progress(running), bar = $('bar')
    const n = Math.max(state.jobs.filter(isActive).length, state.jobs.length < LIMIT ? 0 : state.remaining)
    bar.hidden = !running
    if (running && p.share !== undefined) bar.value = p.share
    else bar.removeAttribute('value')
    $('waiting').hidden = !n
    $('waiting').textContent = n
    $('waiting').setAttribute('aria-label', n + ' waiting or running')
    document.title = (p && p.share !== undefined ? Math.round(100 * p.share) + '% · ' : n ? n + ' · ' : '') + 'rylagraph'
    $('offline').hidden = state.online && !state.error
    $('offline').textContent = state.online ? state.error : 'The server does not answer. This page goes on by itself as soon as it is back.'
  })
  addEventListener('key', open)
  document.addEventListener('visibilitychange', () => document.hidden || refresh())
  refresh().then(open)
}

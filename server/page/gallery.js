// Pictures of jobs that are done, newest first, a page at a time as they are scrolled to.
import { get, h, media } from './base.js'
import { isPicture, nameOf, open, output, runAgain, saveWorkflow } from './job.js'
import { fill } from './create.js'
import { isActive, live, state } from './live.js'
import { openGraph } from './workflow.js'

const PAGE = 60

export const offers = (j, close) => [
  h('button', { type: 'button', onclick: () => runAgain(j) }, 'Run again'),
  h('button', { type: 'button', onclick: () => runAgain(j, true) }, 'New seed'),
  j.endpoint ? h('button', { type: 'button', onclick: () => { close(); fill(j) } }, 'Open in form') : '',
  h('button', { type: 'button', onclick: () => { close(); openGraph(j) } }, j.endpoint ? 'Open as workflow' : 'Open workflow'),
  h('button', { type: 'button', onclick: () => saveWorkflow(j) }, 'Workflow file')]

export function gallery(main) {
  const grid = h('ul', { class: 'gallery' }), end = h('p', { class: 'end', role: 'status' })
  const known = new Set(), jobs = []
  let offset = 0, isLoading = false, isAll = false
  main.replaceChildren(h('h1', {}, 'Gallery'), grid, end)

  function tile(j) {
    const pictures = j.outputs.filter(isPicture)
    const show = () => {
      const i = jobs.indexOf(j)
      if (i > jobs.length - 5) more()
      open(j, { buttons: offers, previous: i > 0 && jobs[i - 1].show, next: i + 1 < jobs.length && jobs[i + 1].show, onclose: () => j.button.focus() })
    }
    j.show = show
    j.button = h('button', { type: 'button', title: j.text || nameOf(j), onclick: show }, media(output(j, pictures[0].n, 320), pictures[0].content_type, j.text || nameOf(j), true),
      pictures.length > 1 && h('span', { class: 'count' }, pictures.length))
    return h('li', {}, j.button)
  }

  async function more() {
    if (isLoading || isAll) return
    isLoading = true
    try {
      const got = (await get(`jobs?state=done&limit=${PAGE}&offset=${offset}`)).jobs
      offset += got.length
      isAll = got.length < PAGE
      const news = got.filter((j) => !known.has(j.id) && (j.outputs || []).some(isPicture))
      for (const j of got) known.add(j.id)
      jobs.push(...news)
      grid.append(...news.map(tile))
      end.textContent = !isAll ? '' : jobs.length ? 'That is all.' : 'Pictures that are done appear here.'
      end.classList.toggle('nothing', isAll && !jobs.length)
    } catch (e) {
      end.textContent = e.message
      isAll = true
    }
    isLoading = false
    if (!isAll && end.getBoundingClientRect().top < innerHeight + 800) more()
  }

  // What was done meanwhile goes in front, without moving what somebody looks at further down.
  async function look() {
    if (isLoading) return
    try {
      const news = (await get(`jobs?state=done&limit=${PAGE}`)).jobs.filter((j) => !known.has(j.id))
      if (isLoading || !grid.isConnected) return
      for (const j of news) known.add(j.id)
      offset += news.length
      const some = news.filter((j) => (j.outputs || []).some(isPicture))
      if (!some.length) return
      jobs.unshift(...some)
      grid.prepend(...some.map(tile))
      if (isAll) { end.textContent = 'That is all.'; end.classList.remove('nothing') }
    } catch { /* the next change asks again */ }
  }
  let active = ''
  const onChange = () => {
    if (!grid.isConnected) { live.removeEventListener('change', onChange); observer.disconnect(); return }
    const now = liveKey()
    if (now !== active) { active = now; look() }
  }
  const observer = new IntersectionObserver((seen) => seen[0].isIntersecting && more(), { rootMargin: '800px' })
  observer.observe(end)
  active = liveKey()
  live.addEventListener('change', onChange)
  more()
}

// Changes when some job has ended.
const liveKey = () => state.jobs.find((j) => !isActive(j))?.id || ''

// The page: which section the address names, and files dropped anywhere.
import { $, h } from './base.js'
import { about } from './about.js'
import { create } from './create.js'
import { gallery } from './gallery.js'
import { start } from './live.js'
import { queue } from './queue.js'
import { take, workflow } from './workflow.js'

const sections = { '': create, create, queue, gallery, workflow, server: about }

let shown
function route() {
  const [, name = '', argument] = (location.hash || '#/').split('/'), draw = sections[name] || create, main = $('main')
  for (const a of document.querySelectorAll('header nav a')) {
    const is = (sections[a.hash.slice(2)] || create) === draw
    if (is) a.setAttribute('aria-current', 'page')
    else a.removeAttribute('aria-current')
  }
  main.className = name || 'create'
  const isSame = shown === draw
  shown = draw
  let what
  try { what = argument && decodeURIComponent(argument) } catch { /* a broken address: as if there was none */ }
  draw(main, what)
  if (!isSame) scrollTo(0, 0)
}
addEventListener('hashchange', () => {
  for (const d of document.querySelectorAll('dialog.large')) d.close()
  route()
})

document.querySelector('.skip').addEventListener('click', (e) => { e.preventDefault(); $('main').focus() })

let depth = 0
const hasFiles = (e) => [...(e.dataTransfer?.types || [])].includes('Files')
addEventListener('dragenter', (e) => { if (hasFiles(e)) { e.preventDefault(); depth++; $('drop').hidden = false } })
addEventListener('dragleave', (e) => { if (hasFiles(e) && --depth <= 0) { depth = 0; $('drop').hidden = true } })
addEventListener('dragover', (e) => hasFiles(e) && e.preventDefault())
addEventListener('drop', (e) => {
  depth = 0
  $('drop').hidden = true
  if (!hasFiles(e) || e.target.closest?.('.zone')) return
  e.preventDefault()
  if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0])
}, true)

start()
route()

// The server's own page, used as people use it. Called by tools/browser_check.sh.
'use strict'
const fs = require('fs')
const path = require('path')
const { browse, check, pause, result, root, serve } = require('./driver.js')

const [chromium, work] = process.argv.slice(2)
const quick = { steps: 1, width: 64, height: 64 }
const demo = JSON.parse(fs.readFileSync(path.join(root, 'workflows/demo.json'), 'utf8')).graph
const evil = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>'

// ---- what a person does, in the page
const helpers = `
  window.$$ = (s) => [...document.querySelectorAll(s)]
  window.byText = (s, t) => $$(s).find((e) => e.textContent.trim() === t && e.offsetParent)
  window.fieldOf = (name) => $$('form [name="' + name + '"]').find((e) => e.offsetParent)
  window.put = (name, v) => { const e = fieldOf(name); e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })) }
  window.fact = (root, name) => [...root.querySelectorAll('dt')].find((e) => e.textContent === name)?.nextSibling.textContent
  window.dropFile = (name, bytes, type) => {
    const t = new DataTransfer()
    t.items.add(new File([bytes], name, { type }))
    for (const k of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(k, { dataTransfer: t, bubbles: true, cancelable: true }))
  }
`

// Texts whose colour is too near to what is behind them (WCAG 2: 4.5 to 1), disabled ones aside.
const faint = `(() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number), light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const out = []
  for (const e of document.querySelectorAll('body *')) {
    if (!e.offsetParent || e.closest('.hidden, fieldset:disabled, button:disabled, #toasts') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue
    let b = e
    while (b && (rgb(getComputedStyle(b).backgroundColor)[3] ?? 1) === 0) b = b.parentElement
    const x = light(rgb(getComputedStyle(e).color).slice(0, 3)), y = light(b ? rgb(getComputedStyle(b).backgroundColor).slice(0, 3) : [255, 255, 255])
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
    if (ratio < 4.5) out.push(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2) + ' ' + e.textContent.slice(0, 30))
  }
  return out
})()`

async function sections(page, label, width = 1280) {
  for (const [name, ready] of [['', 'form fieldset'], ['queue', 'ul.jobs'], ['gallery', 'ul.gallery'], ['workflow', '.nothing, form'], ['server', '.models details']]) {
    await page.eval(`location.hash = '#/${name}'`)
    await page.until(`document.querySelector('main ${ready}')`)
    await pause(300)
    const over = await page.eval(`Math.max(...[...document.querySelectorAll('main *, header, header nav a')].filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().right))`) - width
    check(`${label}: ${name || 'create'} is no wider than the window`, over <= 0, over)
    const pale = await page.eval(faint)
    check(`${label}: ${name || 'create'} can be read`, pale.length === 0, pale)
    await page.shot(`${label}-${name || 'create'}`)
  }
}

async function main() {
  const folder = path.join(work, 'own'), jobs = path.join(folder, 'jobs.db')
  const flows = path.join(folder, 'workflows')
  fs.mkdirSync(flows, { recursive: true })
  for (const f of fs.readdirSync(path.join(root, 'workflows'))) fs.copyFileSync(path.join(root, 'workflows', f), path.join(flows, f))
  // every kind of parameter on a form, and a file name that would like to be HTML
  fs.writeFileSync(path.join(flows, 'kinds.json'), JSON.stringify({ name: 'kinds', description: evil, parameters: [
    { name: 'picture', type: 'image', required: true, targets: ['1.image'], description: 'what to save again' },
    { name: 'prefix', type: 'string', default: 'x', choices: ['x', 'y'], targets: ['2.filename_prefix'] },
    { name: 'method', type: 'string', default: 'lanczos', targets: ['3.upscale_method'] },
    { name: 'model', type: 'string', default: 'flux-demo.safetensors', targets: ['4.unet_name'] },
    { name: 'tile', type: 'boolean', default: true, targets: ['5.value'] }],
  graph: { 1: { class_type: 'LoadImage', inputs: { image: '' } }, 2: { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'x' } },
    3: { class_type: 'ImageScaleBy', inputs: { image: ['1', 0], upscale_method: 'lanczos', scale_by: 0.5 } },
    4: { class_type: 'UNETLoader', inputs: { unet_name: 'flux-demo.safetensors', weight_dtype: 'default' } },
    5: { class_type: 'PrimitiveBoolean', inputs: { value: true } } } }))
  let server = await serve(folder, '--port', '0', '--jobs-file', jobs, '--preview-method', 'auto', '--workflows', flows)
  const port = String(server.port), browser = await browse(chromium)
  const page = await browser.open(server.url)
  await page.until(`document.querySelector('main form fieldset')`)
  await page.eval(helpers)

  // ---- empty
  await sections(page, 'empty')

  // ---- the form is the parameter table
  await page.eval(`location.hash = '#/create/demo'`)
  await page.until(`location.hash === '#/create/demo' && fieldOf('prompt')`)
  const endpoints = (await server.get('endpoints')).endpoints, table = endpoints.find((e) => e.name === 'demo').parameters
  check('a field for each parameter, in order', (await page.eval(`$$('main form [name]').map((e) => e.name).join()`)) === table.map((p) => p.name).join())
  check('defaults stand in the fields', (await page.eval(`fieldOf('steps').value + fieldOf('prompt').value`)) === '20' + table[0].default)
  check('every field has a name for screen readers', await page.eval(`$$('main input, main textarea, main select').every((e) => e.labels.length && e.labels[0].textContent.trim())`))
  check('every button has a name', await page.eval(`$$('button').every((e) => e.textContent.trim() || e.getAttribute('aria-label'))`))
  check('one h1, one main, sections named', await page.eval(`$$('h1').length === 1 && $$('main').length === 1 && $$('nav').every((n) => n.getAttribute('aria-label'))`))
  check('unavailable endpoints are marked', await page.eval(`$$('.choose a').some((a) => a.className === 'off' && a.textContent === 'flux-instantid')`))

  // ---- wrong values never leave the page
  for (const [name, value] of [['steps', '0'], ['steps', 'many'], ['width', '99999999999999999999999'], ['cfg', '1e9'], ['steps', '1.5'], ['seed', '18446744073709551616'], ['seed', '-1']]) {
    await page.eval(`put('${name}', '${value}'); byText('button', 'Run').click()`)
    check(`${name} ${value} is refused at its field`, await page.eval(`fieldOf('${name}').getAttribute('aria-invalid') === 'true' && document.activeElement === fieldOf('${name}') && !!document.getElementById(fieldOf('${name}').getAttribute('aria-describedby').split(' ').pop()).textContent`))
    if (name === 'steps' && value === '0') await page.shot('wrong-value')
    await page.eval(`put('${name}', '${{ steps: 20, width: 256, cfg: 1, seed: '' }[name]}')`)
  }
  check('nothing was sent', (await server.get('jobs')).count === 0)

  // ---- run, by keyboard
  await page.eval(`put('prompt', 'a red house on the left, a snowy field at night, a large moon'); put('steps', '60'); fieldOf('prompt').focus()`)
  await page.key('Enter', 2)
  check('a preview comes while it runs', await page.until(`(document.querySelector('.result img.preview') || {}).naturalWidth > 0`))
  await page.shot('running')
  check('the picture comes', await page.until(`document.querySelector('.result .badge.done') && document.querySelector('.result .picture img').naturalWidth === 256`, 90))
  await page.shot('create-done')
  const first = (await server.get('jobs')).jobs[0], made = await fetch(server.url + `jobs/${first.id}/outputs/0`)
  check('seed as the server has it', (await page.eval(`fact(document.querySelector('.result'), 'Seed')`)) === made.headers.get('x-seed'))
  const costs = await page.eval(`[...document.querySelectorAll('.result dd')].filter((e) => /^USD /.test(e.title)).map((e) => [e.title.slice(4), e.textContent.slice(1)])[0]`)
  check('cost as the header has it', +costs[0] === +made.headers.get('x-cost-usd') && Math.abs(costs[1] - costs[0]) <= (costs[0] < 0.01 ? 1e-6 : 5e-4), costs)
  check('time and device are shown', await page.eval(`/ s$/.test(fact(document.querySelector('.result'), 'Time')) && fact(document.querySelector('.result'), 'Device') === 'CPU'`))

  // ---- again with this seed, with another prompt
  await page.eval(`put('steps', '2'); put('prompt', ${JSON.stringify(evil)}); byText('.result button', 'Again with this seed').click()`)
  check('again, with the seed', await page.until(`$$('.result').length === 2 && $$('.result')[0].querySelector('.badge.done') && fact($$('.result')[0], 'Seed') === fact($$('.result')[1], 'Seed')`))
  check('HTML in a prompt stays text', await page.eval(`window.pwned === undefined && !document.querySelector('img[src="x"]') && $$('.result')[0].querySelector('img').alt === ${JSON.stringify(evil)}`))

  // ---- a seed of 64 bits keeps every digit
  await page.eval(`put('seed', '18446744073709551615'); byText('button', 'Run').click()`)
  check('a large seed', await page.until(`$$('.result').length === 3 && $$('.result')[0].querySelector('.badge.done') && fact($$('.result')[0], 'Seed') === '18446744073709551615'`))

  // ---- an endpoint with all kinds of fields; the server's own words
  await page.eval(`location.hash = '#/create/kinds'`)
  await page.until(`document.querySelector('.zone')`)
  check('choices are a list', await page.eval(`fieldOf('prefix').tagName === 'SELECT' && fieldOf('prefix').options.length === 2`))
  check('a node\'s list too', await page.eval(`fieldOf('method').tagName === 'SELECT' && [...fieldOf('method').options].some((o) => o.value === 'bicubic') && fieldOf('method').value === 'lanczos'`))
  check('model files are offered', await page.until(`fieldOf('model').list?.options.length >= 1 && fieldOf('model').list.options[0].value === 'flux-demo.safetensors'`))
  check('a switch', await page.eval(`fieldOf('tile').type === 'checkbox' && fieldOf('tile').checked`))
  check('a description is text', await page.eval(`document.querySelector('.about').textContent === ${JSON.stringify(evil)} && window.pwned === undefined`))
  await page.eval(`byText('button', 'Run').click()`)
  check('a missing picture is said', await page.eval(`$$('.error').some((e) => !e.hidden && /picture/.test(e.textContent))`))
  await page.eval(`(async () => {
    const t = new DataTransfer()
    t.items.add(new File(['no picture'], 'a.png', { type: 'image/png' }))
    document.querySelector('.zone').dispatchEvent(new DragEvent('drop', { dataTransfer: t, bubbles: true, cancelable: true }))
  })()`)
  await page.until(`/a.png/.test(document.querySelector('.zone').textContent)`)
  await page.eval(`byText('button', 'Run').click()`)
  check('the server\'s refusal is at the field', await page.until(`$$('.zone ~ .error').some((e) => !e.hidden && /picture/.test(e.textContent))`))
  await page.shot('refused')
  await page.eval(`(async () => {
    const t = new DataTransfer()
    t.items.add(new File([await (await fetch('jobs/${first.id}/outputs/0')).blob()], 'b.png', { type: 'image/png' }))
    document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: t, bubbles: true, cancelable: true }))
  })()`)
  check('a pasted picture is shown', await page.until(`document.querySelector('.zone img').naturalWidth === 256`))
  await page.shot('image-field')
  await page.eval(`byText('button', 'Run').click()`)
  check('and sent', await page.until(`$$('.result').length === 4 && $$('.result')[0].querySelector('.badge.done')`))

  check('half as large', await page.until(`$$('.result')[0].querySelector('.picture img')?.naturalWidth === 128`))

  // ---- an endpoint that cannot run says why
  for (const [name, word] of [['flux-instantid', 'nodes'], ['flux-dev', 'flux1-dev.safetensors'], ['flux-dev', 'rylagraph models pull flux-dev']]) {
    await page.eval(`location.hash = '#/create/${name}'`)
    check(`${name} says what is missing`, await page.until(`document.querySelector('form fieldset:disabled') && document.querySelector('form .notice').textContent.includes('${word}')`))
    await page.shot('missing-' + name)
  }

  // ---- by keyboard alone; an endpoint that comes while the server runs
  await page.eval(`document.activeElement.blur(); scrollTo(0, 0); document.querySelector('.brand').focus()`)
  await page.key('Tab', 8)
  check('the first stop leads past the menu', await page.eval(`document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().width > 50`))
  await page.key('Enter')
  check('and there', await page.eval(`document.activeElement.id === 'main' && location.hash === '#/create/flux-dev'`))
  fs.writeFileSync(path.join(flows, 'later.json'), JSON.stringify({ name: 'later', parameters: [], graph: { 1: { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: 255 } }, 2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'later' } } } }))
  fs.writeFileSync(path.join(flows, 'broken.json'), '{"name": "broken", "parameters": [], "graph": {')
  for (let i = 0; i < 100 && !(await server.get('endpoints')).endpoints.some((e) => e.name === 'later'); i++) await pause(100)
  await page.eval(`location.hash = '#/create/later'`)
  check('a new endpoint is there', await page.until(`document.querySelector('.choose [aria-current]')?.textContent === 'later' && byText('button', 'Run')`))
  check('a broken one is named', await page.until(`/broken.json/.test(document.querySelector('details.notice')?.textContent)`))
  await page.eval(`byText('button', 'Run').click()`)
  check('and runs', await page.until(`$$('.result')[0].querySelector('.badge.done') && fact($$('.result')[0], 'Time')`))
  fs.unlinkSync(path.join(flows, 'broken.json'))

  // ---- the queue
  const slow = { endpoint: 'demo', parameters: { steps: 2000, width: 512, height: 512, prompt: 'a long way' } }
  for (let i = 0; i < 4; i++) await server.post('jobs', slow)
  await page.eval(`location.hash = '#/queue'`)
  check('one runs, three wait', await page.until(`$$('.jobs .badge.running').length === 1 && $$('.jobs .badge.queued').length === 3`))
  check('node, step and a preview', await page.until(`/KSampler · step \\d+ of 2000/.test(document.querySelector('.jobs .card .line').textContent) && document.querySelector('.jobs img.preview').naturalWidth > 0`))
  check('the title tells', await page.until(`/^\\d+% · rylagraph$/.test(document.title)`))
  check('positions', await page.eval(`/^next/.test($$('.jobs .line')[1].textContent) && /^1 job before it/.test($$('.jobs .line')[2].textContent)`))
  await page.shot('queue')
  await page.eval(`$$('.jobs .card')[2].querySelector('button').click()`)
  check('a waiting one is cancelled', await page.until(`$$('.jobs .badge.queued').length === 2 && $$('.ended .badge.cancelled').length === 1`))

  // ---- the server goes and comes back: what waits, waits still
  await server.stop('SIGKILL')
  check('a lost server is said', await page.until(`!document.getElementById('offline').hidden`, 20))
  await page.shot('offline')
  page.bad.length = 0
  server = await serve(folder, '--port', port, '--jobs-file', jobs, '--preview-method', 'auto', '--workflows', flows)
  check('the page comes back by itself', await page.until(`document.getElementById('offline').hidden`, 30))
  check('with the jobs', await page.until(`$$('.jobs .badge.running').length === 1 && $$('.jobs .badge.queued').length === 2`))
  check('and its socket', await page.until(`document.querySelector('.jobs img.preview').naturalWidth > 0`))
  await page.eval(`byText('button', 'Cancel all that wait').click()`)
  check('all that wait are cancelled', await page.until(`$$('.jobs .badge.queued').length === 0`))
  await page.eval(`$$('.jobs .card')[0].querySelector('button').click()`)
  check('the running one is cancelled', await page.until(`$$('.jobs .card').length === 0 && $$('.ended .badge.cancelled').length === 4`))
  page.bad.length = page.errors.length = 0

  // ---- a job of another client, whose messages go to that client alone
  const theirs = JSON.parse(JSON.stringify(demo))
  theirs[8].inputs.steps = 2000
  theirs[7].inputs.width = theirs[7].inputs.height = 512
  const id = (await server.post('prompt', { prompt: theirs, client_id: 'somebody-else' })).body.prompt_id
  check('a job of ComfyUI\'s clients is followed too', await page.until(`/KSampler · step [2-9]\\d* of 2000/.test(document.querySelector('.jobs .card .line')?.textContent) && document.querySelector('.jobs .card b').textContent === 'workflow'`))
  await fetch(server.url + 'jobs/' + id, { method: 'DELETE' })
  await page.until(`$$('.jobs .card').length === 0`)

  // ---- a hundred jobs, the gallery
  const all = []
  for (let i = 0; i < 100; i++) all.push(server.post('jobs', { endpoint: 'demo', parameters: { ...quick, seed: i, prompt: i === 99 ? evil + ' a very long prompt'.repeat(60) : 'picture ' + i } }))
  const last = (await Promise.all(all))[99].body.id
  check('a hundred in the queue', await page.until(`$$('.jobs .card').length > 40`))
  check('none wider than the window', await page.eval('document.scrollingElement.scrollWidth <= innerWidth'))
  await page.shot('queue-100')
  for (let i = 0; i < 1200 && (await server.get('jobs?state=queued&limit=1')).count + (await server.get('jobs?state=running&limit=1')).count; i++) await pause(100)
  const total = (await server.get('jobs?state=done&limit=1000')).count
  await page.eval(`location.hash = '#/gallery'`)
  check('the first page of pictures', await page.until(`$$('ul.gallery li').length >= 60 && $$('ul.gallery img')[0].naturalWidth > 0`))
  await page.eval(`scrollTo(0, document.body.scrollHeight)`)
  check('then all of them', await page.until(`$$('ul.gallery li').length === ${total}`), await page.eval(`$$('ul.gallery li').length`) + ' of ' + total)
  await page.eval(`scrollTo(0, 0)`)
  await page.until(`$$('ul.gallery img').filter((e) => e.naturalWidth).length >= 24`)
  await page.shot('gallery')
  const jobOf = (await server.get('jobs?state=done&limit=5')).jobs
  await page.eval(`$$('ul.gallery button')[0].focus()`)
  await page.key('Enter')
  check('a picture opens large', await page.until(`document.querySelector('dialog.large img')?.naturalWidth > 0`))
  check('with its seed', (await page.eval(`fact(document.querySelector('dialog'), 'Seed')`)) === String(jobOf[0].seed))
  await page.shot('picture')
  await page.key('ArrowRight')
  check('an arrow shows the next', await page.until(`fact(document.querySelector('dialog'), 'Seed') === '${jobOf[1].seed}'`))
  await page.key('Escape')
  check('escape closes, focus is back', await page.until(`!document.querySelector('dialog') && document.activeElement === $$('ul.gallery button')[1]`))
  const long = await page.eval(`$$('ul.gallery button').findIndex((b) => b.title.includes('a very long prompt'))`)
  await page.eval(`$$('ul.gallery button')[${long}].click()`)
  await page.until(`document.querySelector('dialog.large img')?.naturalWidth > 0`)
  await page.shot('long-prompt')
  check('a long prompt does not burst the dialog', await page.eval(`document.querySelector('dialog').scrollWidth <= innerWidth && window.pwned === undefined`))
  await page.eval(`byText('dialog button', 'New seed').click()`)
  check('run again with a new seed', await page.until(`fetch('jobs?state=done&limit=1').then((r) => r.json()).then((j) => j.jobs[0].text.includes('very long') && j.jobs[0].id !== '${last}' && j.jobs[0].seed > 99 && j.jobs[0].endpoint === 'demo')`))
  check('it joins the gallery in front', await page.until(`$$('ul.gallery li').length === ${total + 1} && $$('ul.gallery button')[0].title.includes('very long')`))
  await page.eval(`byText('dialog button', 'Open in form').click()`)
  check('its values are in the form', await page.until(`location.hash === '#/create/demo' && !document.querySelector('dialog') && fieldOf('steps')?.value === '1' && fieldOf('width').value === '64' && fieldOf('seed').value === '99' && fieldOf('prompt').value.startsWith(${JSON.stringify(evil)})`))

  // ---- workflows from files
  await page.eval(`(async () => { dropFile('drawn.png', await (await fetch('jobs/${first.id}/outputs/0?metadata=1')).blob(), 'image/png') })()`)
  check('a picture gives its workflow', await page.until(`location.hash === '#/workflow' && /10 nodes, from a picture/.test(document.querySelector('main .about')?.textContent)`))
  check('its classes', await page.eval(`$$('.chip').map((e) => e.textContent).includes('CLIPTextEncode ×2') && !document.querySelector('.chip.bad')`))
  check('its prompts and seed are fields', await page.eval(`fieldOf('text').value.startsWith('a red house') && !!fieldOf('seed') && $$('details [name]').length > 8`))
  await page.shot('workflow')
  await page.eval(`put('text', 'a blue sailboat in the center, a blue sea at sunset'); put('seed', '18446744073709551614'); document.querySelector('details').open = true; put('steps', '3'); byText('button', 'Run').click()`)
  check('its run, node by node', await page.until(`document.querySelector('.nodes') && $$('.nodes li').length === 10 && document.querySelector('.result .badge.done')`))
  check('all nodes done, loaders from the cache', await page.until(`$$('.nodes li.finished').length >= 4 && $$('.nodes li.finished, .nodes li.cached').length === 10`))
  const wf = (await server.get('jobs?state=done&limit=1')).jobs[0], text = await (await fetch(server.url + `jobs/${wf.id}/workflow`)).text()
  check('with what was changed', /sailboat/.test(text) && text.includes('"seed": 18446744073709551614') && /"steps": 3/.test(text))
  await page.shot('workflow-done')
  const wrong = JSON.parse(JSON.stringify(demo).replace('"KSampler"', '"KSamplr"').replace('flux-demo.safetensors', 'flux-dem.safetensors'))
  wrong[3].class_type = evil
  await page.eval(`dropFile(${JSON.stringify(evil + '.json')}, ${JSON.stringify(JSON.stringify(wrong))}, 'application/json')`)
  check('what is missing, with the nearest names', await page.until(`$$('.chip.bad').length === 2 && /KSampler/.test(document.querySelector('form .notice').textContent) && /flux-demo.safetensors/.test(document.querySelector('form .notice').textContent)`))
  check('and it does not run', await page.eval(`byText('form button', 'Run').disabled && window.pwned === undefined`))
  await page.shot('workflow-wrong')
  await page.eval(`dropFile('poem.txt', 'no workflow at all', 'text/plain')`)
  check('another file is refused in words', await page.until(`/poem.txt: /.test(document.querySelector('main .error')?.textContent)`))
  await page.shot('workflow-refused')
  page.bad = page.bad.filter((b) => !/^400 POST \/(workflow\/check|jobs)$/.test(b))

  // ---- phone, dark
  await page.eval(`location.hash = '#/'; document.querySelector('dialog')?.close()`)
  await page.size(360, 740)
  await sections(page, 'phone', 360)
  await page.size(1280, 860)
  await page.dark(true)
  await sections(page, 'dark')
  await page.eval(`location.hash = '#/gallery'`)
  await page.until(`$$('ul.gallery img')[0]?.naturalWidth > 0`)
  await page.eval(`$$('ul.gallery button')[1].click()`)
  await page.until(`document.querySelector('dialog.large img')?.naturalWidth > 0`)
  await page.size(360, 740)
  await page.shot('phone-picture')

  check('no errors in the console', page.errors.length === 0, page.errors)
  check('no failed requests', page.bad.length === 0, page.bad)
  check('nothing from elsewhere', page.outside.length === 0, page.outside)
  await page.close()
  await server.stop()

  // ---- with API keys
  fs.writeFileSync(path.join(folder, 'keys'), 'correct-horse-battery-staple\nonly-endpoints endpoints\n')
  server = await serve(folder, '--port', '0', '--jobs-file', jobs, '--preview-method', 'auto', '--api-key-file', path.join(folder, 'keys'))
  const locked = await browser.open(server.url)
  check('a key is asked for', await locked.until(`document.querySelector('dialog[open] input[type=password]')`))
  await locked.eval(helpers)
  await locked.shot('key')
  await locked.type('wrong')
  await locked.key('Enter')
  check('a wrong one is asked for again', await locked.until(`/does not know/.test(document.querySelector('dialog[open]')?.textContent) && document.querySelector('dialog input').value === ''`))
  await locked.type('correct-horse-battery-staple')
  await locked.key('Enter')
  check('the right one opens the page', await locked.until(`!document.querySelector('dialog') && !!document.querySelector('main form')`))
  check('it stays in this tab', await locked.eval(`sessionStorage.getItem('rylagraph-key') === 'correct-horse-battery-staple' && !document.cookie && !localStorage.length`))
  await locked.eval(`location.hash = '#/create/demo'`)
  await locked.until(`fieldOf('steps')`)
  await locked.eval(`put('steps', '60'); byText('button', 'Run').click()`)
  check('previews come over the socket', await locked.until(`(document.querySelector('.result img.preview') || {}).naturalWidth > 0`))
  check('pictures come with the key', await locked.until(`document.querySelector('.result .picture img')?.naturalWidth === 256`, 90))
  await locked.eval(`location.hash = '#/gallery'`)
  check('the gallery too', await locked.until(`$$('ul.gallery img')[3]?.naturalWidth > 0`))
  check('no errors with a key', locked.errors.length === 0, locked.errors)
  check('no refusals but those before the key', locked.bad.every((b) => b.startsWith('401 ')), locked.bad)
  await locked.close()

  // ---- a key that may only call endpoints
  const small = await browser.open(server.url)
  await small.until(`document.querySelector('dialog[open] input[type=password]')`)
  await small.eval(helpers)
  await small.type('only-endpoints')
  await small.key('Enter')
  await small.until(`fieldOf('steps')`)
  await small.eval(`put('steps', '3'); byText('button', 'Run').click()`)
  check('runs and gets its picture', await small.until(`document.querySelector('.result .picture img')?.naturalWidth === 256`))
  check('without complaints', await small.eval(`document.getElementById('offline').hidden`))
  await small.eval(`location.hash = '#/gallery'`)
  check('is told what it may not see', await small.until(`/may not/.test(document.querySelector('main .end')?.textContent)`))
  await small.shot('endpoints-only')
  await server.stop()
  await small.close()

  // ---- jobs in memory alone: gone with the server, and the page says so; a job that fails says why
  server = await serve(path.join(work, 'memory'), '--port', port, '--workflows', flows)
  const short = await browser.open(server.url + '#/create/demo')
  await short.until(`document.querySelector('main form fieldset')`)
  await short.eval(helpers)
  await short.eval(`put('steps', '2000'); put('width', '512'); byText('button', 'Run').click()`)
  check('without previews there are words', await short.until(`document.querySelector('.result .badge.running') && getComputedStyle(document.querySelector('.result .stage'), '::after').content.includes('Running')`))
  await short.shot('no-previews')
  await server.stop('SIGKILL')
  server = await serve(path.join(work, 'memory'), '--port', port, '--workflows', flows)
  check('a lost job is called lost', await short.until(`document.querySelector('.result .badge.lost') && /no record/.test(document.querySelector('.result .line').textContent) && !byText('.result button', 'Workflow') && fact(document.querySelector('.result'), 'Seed')`))
  fs.rmSync(path.join(work, 'memory/output'), { recursive: true, force: true })
  fs.writeFileSync(path.join(work, 'memory/output'), 'a file where a folder should be')
  await short.eval(`put('steps', '1'); put('width', '64'); put('height', '64'); byText('button', 'Run').click()`)
  check('a failed one says why', await short.until(`document.querySelector('.result .badge.failed') && document.querySelector('.result .line.bad').textContent.length > 20`))
  await short.shot('failed')
  await server.stop()
  await browser.close()
}

main().catch((e) => check('the check itself', false, e.stack)).finally(() => {
  const { failures, checks } = result()
  console.log(`own page: ${checks - failures} of ${checks} checks passed`)
  process.exit(failures ? 1 : 0)
})

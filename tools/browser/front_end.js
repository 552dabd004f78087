// ComfyUI's own web page over this server: it loads, knows the server's nodes, and runs its default workflow. Called by tools/browser_check.sh.
'use strict'
const fs = require('fs')
const path = require('path')
const { browse, check, pause, result, root, serve } = require('./driver.js')

const [chromium, work, front] = process.argv.slice(2)

// The demo model's four files as one checkpoint, in the layout of Flux's all-in-one files.
function writeCheckpoint(file) {
  const parts = [['diffusion_models/flux-demo', 'model.diffusion_model.'], ['text_encoders/clip_l-demo', 'text_encoders.clip_l.transformer.'],
    ['text_encoders/t5-demo', 'text_encoders.t5xxl.transformer.'], ['vae/ae-demo', 'vae.']]
  const head = {}, data = []
  let at = 0
  for (const [name, prefix] of parts) {
    const bytes = fs.readFileSync(path.join(root, 'models/demo', name + '.safetensors')), n = Number(bytes.readBigUInt64LE(0))
    for (const [key, t] of Object.entries(JSON.parse(bytes.toString('utf8', 8, 8 + n)))) {
      if (key === '__metadata__') continue
      const piece = bytes.subarray(8 + n + t.data_offsets[0], 8 + n + t.data_offsets[1])
      head[prefix + key] = { dtype: t.dtype, shape: t.shape, data_offsets: [at, at + piece.length] }
      data.push(piece)
      at += piece.length
    }
  }
  let json = JSON.stringify(head)
  json += ' '.repeat((8 - json.length % 8) % 8)
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(json.length))
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, Buffer.concat([size, Buffer.from(json), ...data]))
}

async function main() {
  const folder = path.join(work, 'front')
  // under the name that the default workflow asks for
  writeCheckpoint(path.join(folder, 'models/checkpoints/v1-5-pruned-emaonly-fp16.safetensors'))
  const server = await serve(folder, '--port', '0', '--front-end-root', front, '--preview-method', 'auto')
  const browser = await browse(chromium), page = await browser.open(server.url, { width: 1500, height: 950 })

  check('the page comes up', await page.until(`window.app?.vueAppReady && window.app.graph && !!window.LiteGraph?.registered_node_types.KSampler`, 90))
  const version = await page.eval(`window.__COMFYUI_FRONTEND_VERSION__ || ''`)
  await pause(1500)

  // ---- its nodes are the server's
  const info = await server.get('object_info'), ours = Object.keys(info)
  const types = await page.eval(`Object.fromEntries(Object.entries(LiteGraph.registered_node_types).map(([k, t]) => {
    const d = t.nodeData
    return [k, d ? { inputs: Object.keys({ ...d.input?.required, ...d.input?.optional }), outputs: d.output?.length ?? d.outputs?.length, category: t.category } : null]
  }))`)
  const missing = ours.filter((k) => !types[k]), others = Object.keys(types).filter((k) => !info[k])
  check('it shows every node of /object_info', missing.length === 0, missing)
  // it adds an upload button of its own to those that load pictures
  const differing = ours.filter((k) => types[k] && (types[k].category !== info[k].category || types[k].outputs !== info[k].output.length ||
    types[k].inputs.filter((i) => i !== 'upload').sort().join() !== Object.keys({ ...info[k].input.required, ...info[k].input.optional }).sort().join()))
  check('with their inputs, outputs and categories', differing.length === 0, differing.slice(0, 5))
  console.log(`front end ${version}: ${ours.length} nodes of the server, ${others.length} of its own (${others.join(', ')})`)

  // ---- its default workflow, as it is
  await page.key('Escape')
  await page.eval(`app.loadGraphData()`)
  check('the default workflow', await page.until(`app.graph._nodes.length === 7 && app.graph._nodes.some((n) => n.type === 'CheckpointLoaderSimple')`), await page.eval(`app.graph._nodes.map((n) => n.type)`))
  await page.eval(`window.heard = []; for (const k of ['execution_start', 'progress', 'b_preview', 'executed', 'execution_success', 'execution_error', 'execution_cached']) app.api.addEventListener(k, (e) => heard.push(k))`)
  await page.eval(`document.querySelector('[data-testid="queue-button"] button').click()`)
  check('it runs to the end', await page.until(`heard.includes('execution_success') || heard.includes('execution_error')`, 240) && await page.eval(`heard.includes('execution_success')`), await page.eval('heard.slice(-5)'))
  const heard = await page.eval('heard')
  check('with a start, progress, previews and an end in order', heard[0] === 'execution_start' && heard.includes('b_preview') && heard.includes('executed') &&
    heard.filter((k) => k === 'progress').length >= 20 && heard.indexOf('executed') < heard.indexOf('execution_success'), heard.length)
  check('its node shows the picture', await page.until(`app.graph._nodes.find((n) => n.type === 'SaveImage').imgs?.[0]?.naturalWidth === 512`))
  await page.eval(`app.canvas.ds.scale = 0.75; app.canvas.ds.offset = [40, 20]; app.canvas.setDirty(true, true)`)
  await pause(1500)
  await page.shot('front-end')
  const shown = await page.eval(`(async () => (await (await fetch(app.graph._nodes.find((n) => n.type === 'SaveImage').imgs[0].src)).arrayBuffer()).byteLength)()`)
  const history = Object.values(await server.get('history'))[0], file = Object.values(history.outputs).flatMap((o) => o.images)[0]
  check('the one that the history names', shown === fs.statSync(path.join(folder, 'output', file.subfolder, file.filename)).size)

  // ---- a wrong value is shown at its node
  await page.eval(`heard.length = 0; app.graph._nodes.find((n) => n.type === 'CheckpointLoaderSimple').widgets[0].value = 'none.safetensors'; app.queuePrompt(0).catch(() => {})`)
  check('a refusal is shown', await page.until(`Object.keys(app.lastNodeErrors || {}).length === 1 && /Value not in list|not in/.test(JSON.stringify(app.lastNodeErrors))`))
  await pause(500)
  await page.shot('front-end-refused')
  await page.key('Escape')

  // ---- settings and workflows are kept for the next visit
  await page.eval(`(async () => {
    await app.api.storeSetting('Check.Setting', 'kept')
    await app.api.storeUserData('workflows/check.json', JSON.stringify(app.graph.serialize()), { overwrite: true, throwOnError: true, stringify: false })
  })()`)
  const again = await browser.open(server.url, { width: 1500, height: 950 })
  check('a setting is kept', await again.until(`window.app?.vueAppReady && app.api.getSetting('Check.Setting').then((v) => v === 'kept')`, 90))
  check('a workflow is kept', await again.eval(`app.api.listUserDataFullInfo('workflows').then((l) => l.some((f) => f.path === 'check.json'))`))
  await again.close()

  check('the server\'s own page is still there', (await (await fetch(server.url + 'page')).text()).includes('page/app.js'))

  // What it asks for in vain, here as with ComfyUI: the package's page names files that it does not bring, and a new user has none.
  const known = [/^404 GET \/(api\/userdata\/)?user\.css$/, /^404 GET \/favicon\.ico$/, /^404 GET \/api\/userdata\?dir=(workflows|subgraphs)/, /^404 GET \/api\/userdata\/comfy\.templates\.json$/,
    /^400 POST \/api\/prompt$/]
  const bad = [...new Set(page.bad.filter((b) => !known.some((k) => k.test(b)) && !/api\.comfy\.org|forum|github|googleapis/.test(b)))]
  console.log('asked for in vain: ' + [...new Set(page.bad)].join('; '))
  check('no other failed requests', bad.length === 0, bad)
  // the first is its own with ComfyUI too, the second is the refusal above
  const errors = page.errors.map((e) => e.split('\n')[0]), own = /^TypeError: Cannot read properties of undefined \(reading 'id'\)|^PromptExecutionError/
  check('no errors in its console but those it has with ComfyUI', errors.every((e) => own.test(e)), errors)
  await browser.close()
  await server.stop()
}

main().catch((e) => check('the check itself', false, e.stack)).finally(() => {
  const { failures, checks } = result()
  console.log(`ComfyUI's page: ${checks - failures} of ${checks} checks passed`)
  process.exit(failures ? 1 : 0)
})

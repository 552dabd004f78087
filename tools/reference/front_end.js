// The prompts that ComfyUI's own front end makes of editor workflows, in headless Chromium: the truth for graph/ui_*.c.
// A ComfyUI server must run at URL (python main.py --cpu); its extensions count, so Set and Get nodes want KJNodes' web folder there.
//
//     node tools/reference/front_end.js CHROMIUM URL OUT FILE...
//     RYLAGRAPH_UI_PAIRS=OUT build/test_ui_workflow ui_pairs
//
// Writes OUT/NAME.ui.json and OUT/NAME.api.json for each file that the front end takes, and says why it does not take the others.
'use strict'
const { spawn } = require('child_process')
const fs = require('fs')
const path = require('path')
const os = require('os')

const [chromium, url, out, ...files] = process.argv.slice(2)
if (!files.length) {
  console.error('usage: node tools/reference/front_end.js CHROMIUM URL OUT FILE...')
  process.exit(2)
}

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'front-end-'))
const browser = spawn(chromium, ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe',
  '--user-data-dir=' + profile, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
const waiting = new Map()
let last = 0, session, rest = ''

// DevTools messages over the pipe: JSON, each ended by a zero byte.
browser.stdio[4].setEncoding('utf8')
browser.stdio[4].on('data', (text) => {
  const parts = (rest + text).split('\0')
  rest = parts.pop()
  for (const part of parts) {
    const message = JSON.parse(part)
    waiting.get(message.id)?.(message)
    waiting.delete(message.id)
  }
})

function send(method, params = {}) {
  return new Promise((done) => {
    waiting.set(++last, done)
    browser.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId: session }) + '\0')
  })
}

async function evaluate(expression) {
  const answer = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
  return answer.result?.result?.value
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms))

async function main() {
  const target = await send('Target.createTarget', { url })
  session = (await send('Target.attachToTarget', { targetId: target.result.targetId, flatten: true })).result.sessionId
  for (let i = 0; !(await evaluate('!!(window.app?.vueAppReady && window.LiteGraph?.registered_node_types.KSampler)')); i++) {
    if (i > 120) throw new Error('the front end did not come up at ' + url)
    await pause(500)
  }
  await pause(1000)
  // extensions that come late have missed their turn; of dynamic prompts take the first choice
  await evaluate(`(async () => { Math.random = () => 0; for (const e of app.extensions) if (/^(Set|Get)Node$/.test(e.name))
    await e.registerCustomNodes?.(app) })()`)
  fs.mkdirSync(out, { recursive: true })
  let n = 0
  for (const file of files) {
    const text = fs.readFileSync(file, 'utf8')
    const answer = await evaluate(`(async () => { try {
      await app.loadGraphData(JSON.parse(${JSON.stringify(text)}), true, false, null, { showMissingNodesDialog: false, showMissingModelsDialog: false })
      await new Promise((done) => setTimeout(done, 150))
      return JSON.stringify((await app.graphToPrompt()).output)
    } catch (e) { return String(e) } })()`)
    const name = path.join(out, path.basename(file).replace(/(\.ui)?\.json$/, ''))
    if (answer?.startsWith('{')) {
      fs.writeFileSync(name + '.ui.json', text)
      fs.writeFileSync(name + '.api.json', answer)
      n++
    } else console.log(file + ': ' + answer)
  }
  console.log(`${n} of ${files.length} files`)
}

main().then(() => 0, (e) => { console.error(String(e)); return 1 }).then((code) => {
  browser.kill('SIGKILL')
  process.exit(code)
})

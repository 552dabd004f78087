// A headless Chromium over the DevTools protocol (a pipe, so no library and no port), a server to look at, and small checks.
'use strict'
const { spawn } = require('child_process')
const fs = require('fs')
const os = require('os')
const path = require('path')

const root = path.resolve(__dirname, '../..')
const pause = (ms) => new Promise((done) => setTimeout(done, ms))

// ---- checks
let failures = 0, checks = 0
function check(what, ok, detail) {
  checks++
  if (ok) return true
  failures++
  console.log('FAIL: ' + what + (detail === undefined ? '' : ': ' + (typeof detail === 'string' ? detail : JSON.stringify(detail))))
  return false
}
const result = () => ({ failures, checks })

// ---- a server in a process of its own
async function serve(folder, ...more) {
  const program = process.env.RG_PROGRAM || path.join(root, 'build/rylagraph')
  fs.mkdirSync(folder, { recursive: true })
  const child = spawn(program, ['serve', '--base-directory', folder, '--cpu', ...more], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  const port = await new Promise((done, failed) => {
    child.stderr.on('data', (text) => {
      said += text
      const m = /port (\d+)/.exec(said)
      if (m) done(+m[1])
    })
    child.on('exit', () => failed(new Error('the server ended: ' + said)))
  })
  const s = { port, url: `http://127.0.0.1:${port}/`, child, isOver: false }
  const ended = new Promise((done) => child.on('exit', () => { s.isOver = true; done() }))
  s.stop = (signal = 'SIGTERM') => { child.kill(signal); return ended }
  s.get = async (p, headers) => (await fetch(s.url + p, { headers })).json()
  s.post = async (p, body, headers) => {
    const r = await fetch(s.url + p, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers })
    return { status: r.status, body: await r.json().catch(() => null) }
  }
  return s
}

// ---- a browser
async function browse(chromium) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'browser-'))
  const child = spawn(chromium, ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--remote-debugging-pipe',
    '--user-data-dir=' + profile, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
  const waiting = new Map(), sessions = new Map()
  let last = 0, rest = ''
  child.stdio[4].setEncoding('utf8')
  child.stdio[4].on('data', (text) => {               // JSON messages, each ended by a zero byte
    const parts = (rest + text).split('\0')
    rest = parts.pop()
    for (const part of parts) {
      const m = JSON.parse(part)
      if (m.id) {
        waiting.get(m.id)?.(m)
        waiting.delete(m.id)
      } else sessions.get(m.sessionId)?.(m)
    }
  })
  child.stdio[3].on('error', () => {})
  const send = (method, params = {}, sessionId) => new Promise((done) => {
    waiting.set(++last, done)
    child.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + '\0')
  })

  // A page with what went wrong on it: errors (console, exceptions), bad (answers of 400 and up, requests that failed), outside (addresses elsewhere)
  async function open(address, { width = 1280, height = 860, dark = false } = {}) {
    const target = (await send('Target.createTarget', { url: 'about:blank' })).result.targetId
    const id = (await send('Target.attachToTarget', { targetId: target, flatten: true })).result.sessionId
    const on = (method, params) => send(method, params, id)
    const page = { errors: [], bad: [], outside: [], urls: new Map() }
    sessions.set(id, ({ method, params: p }) => {
      if (method === 'Runtime.exceptionThrown') page.errors.push(p.exceptionDetails.exception?.description || p.exceptionDetails.text)
      if (method === 'Runtime.consoleAPICalled' && (p.type === 'error' || p.type === 'assert')) page.errors.push(p.args.map((a) => a.value ?? a.description).join(' '))
      if (method === 'Log.entryAdded' && p.entry.level === 'error' && p.entry.source !== 'network') page.errors.push(p.entry.text)
      if (method === 'Network.requestWillBeSent') {
        page.urls.set(p.requestId, p.request.method + ' ' + p.request.url)
        if (/^(https?|wss?):/.test(p.request.url) && new URL(p.request.url).host !== new URL(address).host) page.outside.push(p.request.url)
      }
      if (method === 'Network.responseReceived' && p.response.status >= 400) page.bad.push(`${p.response.status} ${page.urls.get(p.requestId)?.replace(/https?:\/\/[^/]*/, '')}`)
      if (method === 'Network.loadingFailed' && !p.canceled) page.bad.push(`${p.errorText} ${page.urls.get(p.requestId)}`)
    })
    page.size = (w, h) => on('Emulation.setDeviceMetricsOverride', { width: w, height: h, deviceScaleFactor: 1, mobile: w < 600 })
    page.dark = (is) => on('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: is ? 'dark' : 'light' }] })
    page.go = (url) => on('Page.navigate', { url })
    page.eval = async (expression) => {
      const r = (await on('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, userGesture: true })).result
      if (r.exceptionDetails) throw new Error((r.exceptionDetails.exception?.description || r.exceptionDetails.text) + '\n  in ' + expression)
      return r.result.value
    }
    // The value of an expression once it is true; undefined after the time is up.
    page.until = async (expression, seconds = 30) => {
      for (const end = Date.now() + 1000 * seconds; ;) {
        let v
        try { v = await page.eval(expression) } catch (e) { if (Date.now() > end) throw e }
        if (v || Date.now() > end) return v
        await pause(50)
      }
    }
    page.key = async (key, modifiers = 0) => {
      const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined
      const code = { Enter: 13, Tab: 9, Escape: 27, ArrowLeft: 37, ArrowRight: 39, ArrowUp: 38, ArrowDown: 40 }[key]
      await on('Input.dispatchKeyEvent', { type: 'keyDown', key, code: key, windowsVirtualKeyCode: code, text, modifiers })
      await on('Input.dispatchKeyEvent', { type: 'keyUp', key, code: key, windowsVirtualKeyCode: code, modifiers })
    }
    page.type = (text) => on('Input.insertText', { text })
    page.shot = async (name) => {
      if (!process.env.RG_SHOTS) return
      fs.mkdirSync(process.env.RG_SHOTS, { recursive: true })
      const r = await on('Page.captureScreenshot', { format: 'png' })
      fs.writeFileSync(path.join(process.env.RG_SHOTS, name + '.png'), Buffer.from(r.result.data, 'base64'))
    }
    page.close = () => send('Target.closeTarget', { targetId: target })
    for (const domain of ['Runtime', 'Log', 'Network', 'Page']) await on(domain + '.enable')
    await page.size(width, height)
    await page.dark(dark)
    await page.go(address)
    return page
  }
  return { open, close: () => new Promise((done) => {
    child.on('exit', () => { try { fs.rmSync(profile, { recursive: true, force: true }) } catch { /* it is in /tmp */ } done() })
    send('Browser.close')
    setTimeout(() => child.kill('SIGKILL'), 3000).unref()
  }) }
}

module.exports = { browse, check, pause, result, root, serve }

// One process of processes.ts.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { connect } from '../src/index.ts'

const [role, url] = process.argv.slice(2) as [string, string]
const say = (word: unknown): void => void process.send!(word)
const bus = await connect(url)

async function write(): Promise<void> {
  const body = new Uint8Array(256).fill(7)
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const end = performance.now() + 3000
  let sent = 0
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      while (performance.now() < end) {
        await bus.publish('bench', body)
        sent++
      }
    }),
  )
  delay.disable()
  say({ p99: delay.percentile(99) / 1e6, most: delay.max / 1e6, rate: sent / 3 })
}

async function work(): Promise<void> {
  let handled = 0
  setInterval(() => {
    if (handled > 0) say(handled)
    handled = 0
  }, 5)
  await bus.subscribe('bench', { group: 'g', concurrency: 64 }, () => {
    handled++
  })
}

process.on('message', (word) => {
  if (word === 'cpu') {
    const { user, system } = process.cpuUsage()
    say(user + system)
  } else void (role === 'write' ? write() : work())
})
process.on('SIGTERM', () => void bus.close().then(() => process.exit(0)))
if (role === 'listen') await bus.subscribe('bench', { group: 'g' }, () => say(performance.timeOrigin + performance.now()))
say('ready')

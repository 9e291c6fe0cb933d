// One process of clock.test.ts. It says one line a step.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../src/index.ts'

const [role, url] = process.argv.slice(2) as [string, string]
const say = (...words: unknown[]): void => console.log(words.join(' '))
const bus = await connect(url)

if (role === 'publish') {
  for (let i = 0; ; i++) {
    const kind = i % 10 === 3 ? 'late' : i % 10 === 6 ? 'flaky' : 'plain'
    const key = kind === 'late' || i % 3 === 0 ? undefined : `k${i % 7}`
    const { id } = await bus.publish('clock', { i, kind }, { ...(key ? { key } : {}), ...(kind === 'late' ? { delay: 200 } : {}) })
    say('ok', id)
    await sleep(8)
  }
}
if (role === 'work') {
  await bus.subscribe(
    'clock',
    { group: 'g', order: 'key', concurrency: 4, lease: '2s', retry: { initial: 50, max: 200 } },
    async ({ id, key, body }, { attempt }) => {
      say('begin', id, key ?? '-', body.i)
      await sleep(3)
      if (body.kind === 'flaky' && attempt === 1) throw new Error('once')
      say('done', id, key ?? '-', body.i)
    },
  )
}
if (role === 'hold') {
  await bus.subscribe('clock', { group: 'g', order: 'key', lease: '30s' }, async ({ id }) => {
    say('begin', id)
    await new Promise(() => {})
  })
}
if (role === 'fail') {
  const options = { group: 'g', order: 'key', retry: { initial: 20, max: 50 }, breaker: { failures: 3, initial: 100, max: 500 } } as const
  await bus.subscribe('clock', options, ({ id }) => {
    if (performance.now() < 4000) throw new Error('an outage')
    say('done', id)
  })
}
say('ready')
setInterval(() => say('cpu', process.cpuUsage().user + process.cpuUsage().system), 200).unref()
process.on('SIGTERM', () => void bus.close().then(() => process.exit(0)))

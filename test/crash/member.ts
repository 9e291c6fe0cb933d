// One process of the crash test: `publish` or `work`. What it prints is the history; a line is written before the next step is taken.
import { writeSync } from 'node:fs'
import { connect } from '../../src/index.ts'

const [role, url, name] = process.argv.slice(2) as [string, string, string]
const say = (...words: unknown[]): void => void writeSync(1, `${words.join(' ')}\n`)
const bus = await connect(url)

if (role === 'publish') {
  for (let i = 0; ; i++) {
    const id = `${name}-${i}`
    const key = `k${name}-${i % 5}`
    await bus.publish('crash', { i }, { id, key })
    say('ok', id, key, i)
  }
}
await bus.subscribe(
  'crash',
  { group: 'g', order: 'key', concurrency: 4, lease: '2s', retry: { initial: 20, max: 50 } },
  async (message) => {
    say('begin', message.id, message.key, message.body.i)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 3))
    if (Math.random() < 0.02) throw new Error('now and then')
    say('done', message.id, message.key, message.body.i)
  },
)

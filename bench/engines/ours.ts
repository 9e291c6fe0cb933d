// One side of the comparison, in a process of its own, as its peer is: publishes with 1000 unconfirmed, then takes all of it in a group.
import { parseArgs } from 'node:util'
import { connect } from '../../src/bus.ts'
import { finish } from './phases.ts'

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    topic: { type: 'string' },
    group: { type: 'string' },
    count: { type: 'string' },
    size: { type: 'string' },
    ledger: { type: 'string' },
    options: { type: 'string' },
  },
})
const { url, topic, group, ledger, options } = values as Record<keyof typeof values, string>
const count = Number(values.count)
const body = new Uint8Array(Number(values.size)).fill(65)
const bus = await connect(url, { ledger, ...JSON.parse(options) })

await finish(
  count,
  async () => {
    let sent = 0
    const publishing = async (): Promise<void> => {
      while (sent++ < count) await bus.publish(topic, body)
    }
    await Promise.all(Array.from({ length: 1000 }, publishing))
  },
  async (took) => {
    await bus.subscribe(topic, { group, concurrency: 64 }, took)
  },
)
await bus.close()

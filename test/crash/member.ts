// One process of the crash test, which may die at any line.
import { subscribe } from 'node:diagnostics_channel'
import type { EngineOptions } from '../../src/engines/registry.ts'
import { type BusError, connect } from '../../src/index.ts'
import { Random } from '../../src/testing/random.ts'
import { Journal } from './journal.ts'
import { type Body, digestOfJob, digestOfMessage, type Job, job, leaseMs, options, topic } from './work.ts'

const [role, url, file, name, seed, replicas, ledger, order, given] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
  string,
]
const journal = new Journal(file, name)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
// A broker may be down when we start.
const bus = await connect(url, {
  nats: { waitForServer: true, reconnectWaitMs: 100, reconnectJitterMs: 100, replicas: Number(replicas) },
  kafka: { waitForServer: true, sessionTimeoutMs: leaseMs },
  nsq: { waitForServer: true, reconnectMaxWaitMs: 500, ...(JSON.parse(given) as EngineOptions).nsq },
  rocketmq: { waitForServer: true, reconnectMaxWaitMs: 500, returnMs: leaseMs },
  pulsar: { waitForServer: true, reconnectMaxWaitMs: 500, returnMs: leaseMs, ...(JSON.parse(given) as EngineOptions).pulsar },
  ...(ledger === '' ? {} : { ledger }),
})
journal.note({ what: 'start' })
const dedupes = bus.status().capabilities.dedupeWindowMs > 0

/** Four at a time, so that several of a key are on their way at once. */
async function publish(): Promise<void> {
  const random = new Random(Number(seed))
  const send = async (one: Job): Promise<void> => {
    const { id, key, delay, headers, body } = one
    journal.note({ what: 'try', id, key, digest: digestOfJob(one), delay })
    try {
      const receipt = await bus.publish(topic, body, {
        id,
        headers,
        ...(key === undefined ? {} : { key }),
        ...(delay > 0 ? { delay } : {}),
      })
      journal.note({ what: 'ok', id, duplicate: receipt.duplicate })
    } catch (error) {
      journal.note({ what: 'refused', id, error: String(error), unknown: (error as BusError).code === 'publish_unknown' })
    }
  }
  for (let n = 0; ; ) {
    const batch: Promise<void>[] = []
    for (let i = 0; i < 4; i++) batch.push(send(job(name, n++, random)))
    await Promise.all(batch)
    // Whoever does not know whether it is stored sends it again: stored once.
    if (dedupes && random.chance(0.05)) await send(job(name, 0, new Random(Number(seed))))
    await sleep(15 + random.below(30))
  }
}

async function work(): Promise<void> {
  subscribe('cozebus:dead-lettered', (event) => journal.note({ what: 'buried', id: (event as { id: string }).id }))
  await bus.subscribe(topic, { ...options, order: order as 'key' | 'none' }, async (message, delivery) => {
    const { id, key } = message
    const { kind, workMs } = message.body as Body
    const { attempt, fence } = delivery
    journal.note({ what: 'begin', id, key, digest: digestOfMessage(message), attempt, fence })
    await sleep(workMs)
    if (kind === 'killer') {
      journal.note({ what: 'kill' })
      if (fence % 2 === 0) process.exit(1)
      process.kill(process.pid, 'SIGKILL')
    }
    const fails = kind === 'poison' || (kind === 'flaky' && attempt <= 2)
    journal.note({ what: fails ? 'fail' : 'done', id, fence })
    if (fails) throw new Error(`${kind} fails`)
  })
}

process.on('SIGTERM', () => {
  journal.note({ what: 'leave' })
  void bus.close().then(() => process.exit(0))
})
if (role === 'work') await work()
process.send?.('ready')
if (role === 'publish') await publish()

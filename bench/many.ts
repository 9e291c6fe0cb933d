import { jetstreamManager } from '@nats-io/jetstream'
import { createInbox, type NatsConnection } from '@nats-io/transport-node'
import { type Bus, connectEngine } from '../src/bus.ts'
import type { Engine, Outgoing, PublishOutcome } from '../src/engines/engine.ts'
import { openNats } from '../src/engines/nats/engine.ts'
import { block, encodeHeaders } from '../src/engines/nats/headers.ts'
import { startNats } from '../test/rig/nats.ts'
import { natsServer, natsVersions } from '../test/rig/nats-server.ts'
import { times } from './page.ts'
import { processorOf } from './processor.ts'
import { watch } from './sides/watch.ts'
import { spread } from './spread.ts'

const total = 30_000
const sizes = [128, 1024]

interface Measured {
  readonly rate: number
  /** Seconds of processor for a million messages. */
  readonly client: number
  readonly server: number
}

/** The engine, with its messages sent in atomic batches (ADR-50, server 2.12) of so many: measured, and not used. */
function atomic(engine: Engine, nc: NatsConnection, size: number): Engine {
  const inbox = createInbox()
  const waiting = new Map<string, (answer: { seq: number; count?: number }) => void>()
  nc.subscribe(`${inbox}.*`, {
    callback: (_, msg) => waiting.get(msg.subject.slice(inbox.length + 1))?.(JSON.parse(msg.string())),
  })
  let made = 0
  const send = (batch: readonly Outgoing[]): Promise<PublishOutcome[]> =>
    new Promise((resolve, reject) => {
      const id = `${made++}`
      waiting.set(id, ({ seq, count }) => {
        waiting.delete(id)
        if (count !== batch.length) reject(new Error('an atomic batch was refused'))
        resolve(batch.map((_, i) => ({ ok: true, position: String(seq - batch.length + 1 + i), duplicate: false })))
      })
      for (const [i, message] of batch.entries()) {
        const last = i === batch.length - 1
        const own = String((encodeHeaders(message) as unknown as { encode(): Buffer }).encode()).slice(0, -2)
        const headers = block(`${own}Nats-Batch-Id: ${id}\r\nNats-Batch-Sequence: ${i + 1}\r\n${last ? 'Nats-Batch-Commit: 1\r\n' : ''}`)
        nc.publish(message.name, message.body, last ? { headers, reply: `${inbox}.${id}` } : { headers })
      }
    })
  const publish = async (batch: readonly Outgoing[]): Promise<PublishOutcome[]> => {
    const parts = []
    for (let i = 0; i < batch.length; i += size) parts.push(send(batch.slice(i, i + size)))
    return (await Promise.all(parts)).flat()
  }
  return new Proxy(engine, {
    get(target, name: keyof Engine) {
      if (name === 'publish') return publish
      const value = target[name]
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

async function measure(bus: Bus, topic: string, size: number, pid: number): Promise<Measured> {
  const body = new Uint8Array(size).fill(65)
  await bus.publish(topic, body)
  const bodies = Array.from({ length: total }, () => body)
  const server = processorOf(pid)!
  const done = watch()
  const outcomes = await bus.publishMany(topic, bodies)
  const { seconds, cpu } = done()
  if (!outcomes.every((one) => one.ok && !one.duplicate && one.position !== undefined)) throw new Error('an outcome is wrong')
  return { rate: total / seconds, client: (cpu * 1e6) / total, server: ((processorOf(pid)! - server) * 1e6) / total }
}

/** Each way in turn, forwards and backwards, so that a slow moment of the machine falls on all of them; the first round warms up. */
export async function many(rounds: number): Promise<void> {
  const version = natsVersions[0]
  const missing = await natsServer(version).then(
    () => undefined,
    (error: Error) => error.message,
  )
  if (missing !== undefined) return console.log(`left out: no nats-server ${version}: ${missing}`)
  await using server = await startNats({ version })
  const nc = await server.connect()
  const jsm = await jetstreamManager(nc)
  const ways: Readonly<Record<string, () => Promise<Engine>>> = {
    'an answer a message': () => openNats(server.url),
    'fast ingest': () => openNats(server.url, { fastIngest: true }),
    'atomic batches of 1000': async () => atomic(await openNats(server.url), nc, 1000),
    'atomic batches of 100': async () => atomic(await openNats(server.url), nc, 100),
  }
  console.log(`nats-server ${version}, one server, file storage, ids on the wire; ${total} messages a round, median of ${rounds} rounds`)
  for (const size of sizes) {
    const results = new Map(Object.keys(ways).map((name) => [name, [] as Measured[]]))
    for (let round = 0; round <= rounds; round++) {
      const order = Object.entries(ways)
      for (const [name, open] of round % 2 === 0 ? order : order.reverse()) {
        await jsm.streams.delete('many_STREAM').catch(() => {})
        await using bus = await connectEngine(await open())
        if (name.startsWith('atomic')) await jsm.streams.add({ name: 'many_STREAM', subjects: ['many'], allow_atomic: true })
        const measured = await measure(bus, 'many', size, server.pid!)
        if (round > 0) results.get(name)!.push(measured)
      }
    }
    const [plain] = results.values()
    console.log(
      `${size}-byte bodies          messages a second (least to most)    against the first (least to most)   client, server: s a million`,
    )
    for (const [name, all] of results) {
      const rates = spread(all.map(({ rate }) => Math.round(rate)))
      const against = spread(all.map(({ rate }, i) => rate / plain![i]!.rate))
      console.log(
        `${name.padEnd(24)} ${String(rates.median).padStart(7)}  (${rates.least} to ${rates.most})`.padEnd(60),
        `${times(against.median)} (${against.least.toFixed(2)} to ${against.most.toFixed(2)})`.padEnd(26),
        `${spread(all.map(({ client }) => client)).median.toFixed(1)}, ${spread(all.map(({ server }) => server)).median.toFixed(1)}`,
      )
    }
  }
  await nc.close()
}

import type { Command } from 'commander'
import type { Bus } from '../bus.ts'
import { newId } from '../message/id.ts'
import { add, type Common, optionsOf, whole, withBus } from './command.ts'
import { progress, table } from './output.ts'

interface BenchOptions extends Common {
  readonly messages: string
  readonly size: string
}

/** Publishes in flight at once: enough to fill batches, few enough that a latency is one of a busy bus, not of a queue. */
const window = 256

export function addBench(program: Command): void {
  add(program, 'bench', 'measure this bus: publishing, and publishing to acknowledged', ['bench', 'bench --messages 100000 --url memory:'])
    .option('--messages <n>', 'how many', '20000')
    .option('--size <bytes>', 'of a body', '256')
    .action((_options, command: Command) => bench(optionsOf<BenchOptions>(command)))
}

async function bench(options: BenchOptions): Promise<void> {
  const total = whole(options.messages, '--messages', 1, 100_000_000)
  const body = new Uint8Array(whole(options.size, '--size', 0, 64 * 1024 * 1024))
  await withBus(options, async (bus) => {
    const rows = [
      await onTopic(bus, (topic) => publishing(bus, topic, total, body)),
      await onTopic(bus, (topic) => handling(bus, topic, total, body)),
    ]
    progress('')
    table(rows, options.json)
  })
}

/** A topic of its own, which is gone after. */
async function onTopic<T>(bus: Bus, run: (topic: string) => Promise<T>): Promise<T> {
  const topic = `bench.${newId()}`
  try {
    return await run(topic)
  } finally {
    await bus.admin.purge(topic)
    await bus.admin.deleteTopic(topic)
  }
}

async function publishing(bus: Bus, topic: string, total: number, body: Uint8Array) {
  const latencies = new Float64Array(total)
  const begun = performance.now()
  await windowed(total, async (i) => {
    const at = performance.now()
    await bus.publish(topic, body)
    latencies[i] = performance.now() - at
    tell('published', i, total)
  })
  return row('publish', latencies, performance.now() - begun)
}

async function handling(bus: Bus, topic: string, total: number, body: Uint8Array) {
  const latencies = new Float64Array(total)
  const sentAt = new Float64Array(total)
  let handled = 0
  let all = (): void => {}
  const finished = new Promise<void>((resolve) => {
    all = resolve
  })
  const work = await bus.subscribe(topic, { group: 'bench', concurrency: 64 }, (message) => {
    const i = Number(message.headers['n'])
    latencies[i] = performance.now() - sentAt[i]!
    tell('handled', handled, total)
    if (++handled >= total) all()
  })
  try {
    const begun = performance.now()
    await windowed(total, async (i) => {
      sentAt[i] = performance.now()
      await bus.publish(topic, body, { headers: { n: String(i) } })
    })
    await finished
    // Closing settles what was handled: the rate is that of acknowledged messages.
    await work.close()
    return row('publish, handle, acknowledge', latencies, performance.now() - begun)
  } finally {
    await work.close({ deadlineMs: 0 })
  }
}

/** Runs all of them, so many at once. */
async function windowed(total: number, run: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < total) await run(next++)
  }
  await Promise.all(Array.from({ length: Math.min(window, total) }, lane))
}

function tell(what: string, i: number, total: number): void {
  if (i % 1000 === 999) progress(`${i + 1} of ${total} ${what}`)
}

function row(what: string, latencies: Float64Array, ms: number) {
  latencies.sort()
  const at = (share: number): number =>
    Math.round(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))]! * 100) / 100
  return { what, messages: latencies.length, perSecond: Math.round((latencies.length / ms) * 1000), p50Ms: at(0.5), p99Ms: at(0.99) }
}

// The bus at work: how soon a handler runs, in what order, with how much memory.
import type { Figures } from '../figures.ts'
import { ageOf, bodyOf, stamped } from './bodies.ts'
import { open } from './open.ts'
import { outstanding, paced, warmOf } from './sending.ts'
import { counted, figuresOf, percentiles } from './watch.ts'
import type { Work } from './work.ts'

/** From publish to handler, at 1000 messages a second. */
export async function latency(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, group, count, size } = work
  const warm = warmOf(count)
  const times: number[] = []
  const { took, all } = counted(count + warm, warm)
  await bus.subscribe(topic, { group, concurrency: 64 }, (message) => {
    times.push(ageOf(message.body))
    took()
  })
  await paced(count + warm, 1000, () => void bus.publish(topic, stamped(size)))
  const { cpu } = figuresOf(count, await all)
  return { cpu, ...percentiles(times.slice(warm)) }
}

/** From the loading of the library to the first message in the handler, in a process that did nothing before. */
export async function first(work: Work): Promise<Figures> {
  const begun = performance.now()
  await using bus = await open(work)
  const { topic, group } = work
  const took = await new Promise<number>((resolve, reject) => {
    bus.subscribe(topic, { group }, () => resolve(performance.now() - begun)).catch(reject)
  })
  return { took }
}

/** Handlers of 1 ms, 64 at once, over messages whose keys are `k0`, sent most, `k1` and so on. */
export async function skewed(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, group, count, order, hot } = work
  const { took, all } = counted(count)
  await bus.subscribe(topic, { group, concurrency: 64, order: order! }, async (message) => {
    await new Promise((resolve) => setTimeout(resolve, 1))
    if (Number(message.key!.slice(1)) >= hot!) took()
  })
  return figuresOf(count, await all)
}

/** Published and handled in one process: its memory, by how many it has handled. */
export async function through(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, group, count, window } = work
  const body = bodyOf(work)
  const tenths = Array.from({ length: 10 }, () => [] as number[])
  const { took, all } = counted(count)
  let handled = 0
  const every = Math.max(1, Math.floor(count / 1000))
  await bus.subscribe(topic, { group, concurrency: 64 }, () => {
    if (handled++ % every === 0) tenths[Math.floor(((handled - 1) * 10) / count)]!.push(process.memoryUsage.rss())
    took()
  })
  await outstanding(count, window, () => bus.publish(topic, body))
  const phase = await all
  return { ...figuresOf(count, phase), growth: percentiles(tenths[9]!).p50! / percentiles(tenths[1]!).p50! }
}

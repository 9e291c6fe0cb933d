// The bus, as users call it, on whichever engine the URL names: publishing and taking.
import type { Figures } from '../figures.ts'
import { bodyOf } from './bodies.ts'
import { open } from './open.ts'
import { manyAtOnce, oneByOne, warmOf } from './sending.ts'
import { counted, figuresOf, watch } from './watch.ts'
import type { Work } from './work.ts'

export async function publish(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, count, window, keys } = work
  const body = bodyOf(work)
  const send = keys === undefined ? () => bus.publish(topic, body) : (i: number) => bus.publish(topic, body, { key: `key-${i % keys}` })
  return await manyAtOnce(count, window, send)
}

export async function publishMany(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, count } = work
  const bodies = Array<Uint8Array>(count).fill(bodyOf(work))
  await bus.publishMany(topic, bodies.slice(0, warmOf(count)))
  const done = watch()
  const outcomes = await bus.publishMany(topic, bodies)
  const phase = done()
  if (outcomes.length !== count || !outcomes.every((one) => one.ok && !one.duplicate && one.position !== undefined))
    throw new Error('an outcome is wrong')
  return figuresOf(count, phase)
}

/** One at a time, each awaited. */
export async function publishOne(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, count } = work
  const body = bodyOf(work)
  return await oneByOne(count, () => bus.publish(topic, body))
}

/** Takes what is there. */
export async function subscribe(work: Work): Promise<Figures> {
  await using bus = await open(work)
  const { topic, group, count } = work
  const warm = warmOf(count)
  const { took, all } = counted(count, warm)
  await bus.subscribe(topic, { group, concurrency: 64 }, took)
  return figuresOf(count - warm, await all)
}

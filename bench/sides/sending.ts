import type { Figures } from '../figures.ts'
import { figuresOf, percentiles, watch } from './watch.ts'

/** How many messages go before those that count: a process that serves has its code compiled. */
export const warmOf = (count: number): number => Math.ceil(count / 10)

/** Calls `send` with each number below `count`, with so many unresolved at once. */
export async function outstanding(count: number, window: number, send: (i: number) => PromiseLike<unknown>): Promise<void> {
  let sent = 0
  const one = async (): Promise<void> => {
    while (sent < count) await send(sent++)
  }
  await Promise.all(Array.from({ length: window }, one))
}

/** With so many unresolved at once; a tenth more, before those that count. */
export async function manyAtOnce(count: number, window: number, send: (i: number) => PromiseLike<unknown>): Promise<Figures> {
  await outstanding(warmOf(count), window, send)
  const done = watch()
  await outstanding(count, window, send)
  return figuresOf(count, done())
}

/** Each awaited before the next; a tenth more, before those that count. */
export async function oneByOne(count: number, send: (i: number) => PromiseLike<unknown>): Promise<Figures> {
  for (let i = 0; i < warmOf(count); i++) await send(i)
  const times: number[] = []
  const done = watch()
  for (let i = 0; i < count; i++) {
    const begun = performance.now()
    await send(i)
    times.push(performance.now() - begun)
  }
  return { ...figuresOf(count, done()), ...percentiles(times) }
}

/** Calls `send` so often, at so many a second. */
export async function paced(count: number, perSecond: number, send: (i: number) => void): Promise<void> {
  const begun = performance.now()
  for (let sent = 0; sent < count; await new Promise((resolve) => setTimeout(resolve, 1))) {
    const due = Math.min(count, Math.floor(((performance.now() - begun) * perSecond) / 1000))
    while (sent < due) send(sent++)
  }
}

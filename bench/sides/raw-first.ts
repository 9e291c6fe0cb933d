import type { Figures } from '../figures.ts'
import type { Work } from './work.ts'

/** From the loading of the client to the first message in the callback, in a process that did nothing before. */
export async function first(work: Work): Promise<Figures> {
  const begun = performance.now()
  const { consume } = await import('./raw.ts')
  const handled = Promise.withResolvers<number>()
  const nc = await consume(work, () => handled.resolve(performance.now() - begun))
  const took = await handled.promise
  await nc.drain()
  return { took }
}

import type { Engine } from '../../src/engines/engine.ts'
import { BusError } from '../../src/errors.ts'
import { override } from '../../src/testing/models/wrapping.ts'

/** A store in memory belongs to one engine. This is a connection to it of one's own: closing it ends what came through it, and nothing else. */
export function share(engine: Engine): Engine {
  const handles = new Set<{ close(): Promise<void> }>()
  let closing: Promise<unknown> | undefined
  const kept = <T extends { close(): Promise<void> }>(handle: T): T => {
    handles.add(handle)
    return handle
  }
  return override(engine, {
    async publish(batch, signal) {
      if (closing) throw new BusError('closed', 'the engine is closed')
      return engine.publish(batch, signal)
    },
    subscribe: async (spec, sink) => kept(await engine.subscribe(spec, sink)),
    async close() {
      closing ??= Promise.allSettled([...handles].map((handle) => handle.close()))
      await closing
    },
  })
}

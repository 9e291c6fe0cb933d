import type { Engine, Stored } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import type { Events } from '../observe/events.ts'
import type { AnyDefinition } from '../topic/definition.ts'
import { matcher } from '../topic/pattern.ts'
import type { Choice } from '../topic/resolve.ts'
import { decode, open } from './intake.ts'
import type { Job } from './job.ts'
import type { Message } from './message.ts'

/** A live subscription's handler; what it throws is told on the warning channel and goes no further. */
export type LiveHandler<Body = any, P = Record<string, string>> = (message: Message<Body, P>) => unknown

/** At most once allows to skip; memory without bound is not allowed. */
const mostRunning = 1000

/** No group: every process, from now on, at most once. @throws BusError `unsupported` where the engine has no such thing */
export async function subscribeLive(
  engine: Engine,
  choice: Choice,
  handler: LiveHandler,
  events: Events,
): Promise<{ close(): Promise<void> }> {
  if (!engine.live)
    throw new BusError(
      'unsupported',
      `the ${engine.name} engine has no live subscriptions; give a group: subscribe(topic, { group }, handler)`,
    )
  const pattern = choice.filter ?? choice.storage!
  const fits = matcher(pattern)
  let running = 0
  const take = (batch: readonly Stored[]): void => {
    for (const stored of batch) {
      if (!fits(stored.name)) continue
      if (running >= mostRunning) {
        events.warn(`a live subscription to ${stored.name} skipped a message: ${mostRunning} handlers are running`, undefined)
        continue
      }
      running++
      void hand(engine, stored, choice.definition, handler, events).finally(() => running--)
    }
  }
  // Without a definition a name may be one of a definition's that other programs know.
  return engine.live.subscribe(pattern, take, undefined, choice.definition && choice.storage)
}

async function hand(
  engine: Engine,
  stored: Stored,
  definition: AnyDefinition | undefined,
  handler: LiveHandler,
  events: Events,
): Promise<void> {
  try {
    const job = openLive(stored, engine)
    const message = decode(job, definition)
    await handler(message instanceof Promise ? await message : message)
  } catch (error) {
    events.warn(`a live subscription to ${stored.name} failed on a message`, error)
  }
}

/** A message that nobody holds a lease of. */
export function openLive(stored: Stored, engine: Engine): Job {
  const delivery = { ...stored, redelivered: false, fence: 0, scope: undefined }
  return open(delivery, stored.storage, !engine.capabilities.headers, Date.now())
}

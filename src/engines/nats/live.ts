import { setImmediate } from 'node:timers/promises'
import type { Msg } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Live, Outgoing, PublishOutcome, Stored } from '../engine.ts'
import type { Connection } from './connection.ts'
import { mayNotPublish, natsError } from './failure.ts'
import { decodeHeaders, headerText } from './headers.ts'
import { nameOf, partitionToken } from './names.ts'
import { blockOf } from './raw.ts'

/** Whatever is published is a core message too: whoever listens gets it, from now on, at most once. */
export class NatsLive implements Live {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async publish(batch: readonly Outgoing[]): Promise<PublishOutcome[]> {
    const { nc, frames } = this.#connection
    this.#connection.mustBeConnected()
    const denied = new Set<string>()
    const hear = this.#connection.listen({ denied: ({ operation, subject }) => operation === 'publish' && denied.add(subject) })
    const outcomes = batch.map((message): PublishOutcome => {
      try {
        frames.add(message.name, message.body, undefined, headerText(message))
        return { ok: true, position: undefined, duplicate: false }
      } catch (thrown) {
        return { ok: false, error: natsError(thrown, `topic '${message.name}'`) }
      }
    })
    frames.send()
    try {
      // The server has read them; who listens gets them, and nobody else ever will.
      await nc.flush()
      // What it refused it has said before that; the client tells us a moment later.
      await setImmediate()
    } catch (thrown) {
      const error = new BusError('publish_unknown', natsError(thrown, 'publishing').message, { cause: thrown })
      return outcomes.map((outcome) => (outcome.ok ? { ok: false, error } : outcome))
    } finally {
      hear()
    }
    return outcomes.map((outcome, i) => (denied.has(batch[i]!.name) ? { ok: false, error: mayNotPublish(batch[i]!.name) } : outcome))
  }

  async subscribe(pattern: string, listener: (batch: readonly Stored[]) => void, group?: string): Promise<{ close(): Promise<void> }> {
    const { nc } = this.#connection
    let denied: Error | undefined
    const take = (failure: Error | null, msg: Msg): void => {
      if (failure) denied = failure
      // Acknowledgements and answers of the server on the way are no messages.
      if (failure || msg.subject.startsWith('$') || msg.subject.startsWith('_')) return
      listener([storedOf(msg)])
    }
    // A message with a key has its partition behind its name.
    const subjects = pattern.endsWith('>') ? [pattern] : [pattern, `${pattern}.${partitionToken}.*`]
    const subscriptions = subjects.map((subject) =>
      nc.subscribe(subject, { callback: take, ...(group === undefined ? {} : { queue: group }) }),
    )
    await nc.flush()
    if (denied) throw natsError(denied, `topic '${pattern}'`)
    return {
      close: async () => {
        await Promise.all(subscriptions.map((subscription) => subscription.drain().catch(() => {})))
      },
    }
  }
}

function storedOf(msg: Msg): Stored {
  const { id, key, headers, at } = decodeHeaders(blockOf(msg))
  const name = nameOf(msg.subject, true)
  return { storage: name, name, id: id ?? '', key, headers, body: msg.data, at: at ?? Date.now(), position: '' }
}

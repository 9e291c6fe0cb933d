import { errors, type Msg, type QueuedIterator } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import { newId } from '../../message/id.ts'
import type { ReplyMessage, RequestMessage, Requests } from '../engine.ts'
import type { Connection } from './connection.ts'
import { natsError } from './failure.ts'
import { decodeHeaders, encodeHeaders } from './headers.ts'
import { blockOf } from './raw.ts'

/** Questions over core NATS: queue groups, and the server's own word when nobody listens. Any client may ask or answer. */
export class NatsRequests implements Requests {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async request(message: RequestMessage, timeoutMs: number, signal?: AbortSignal): Promise<ReplyMessage> {
    this.#connection.mustBeConnected()
    const { name } = message
    const aborted = (): BusError => new BusError('aborted', `the request to '${name}' was aborted`, { cause: signal?.reason })
    if (signal?.aborted) throw aborted()
    const headers = encodeHeaders({ id: message.id, key: undefined, headers: message.headers, at: message.at })
    const asking = this.#connection.nc.request(name, message.body, { timeout: Math.max(1, timeoutMs), headers }).then(
      (reply) => ({ headers: decodeHeaders(blockOf(reply)).headers, body: reply.data }),
      (thrown) => {
        throw requestError(thrown, name, timeoutMs)
      },
    )
    if (!signal) return asking
    asking.catch(() => {})
    const gone = Promise.withResolvers<never>()
    const abort = (): void => gone.reject(aborted())
    signal.addEventListener('abort', abort, { once: true })
    // One signal may serve many questions.
    return Promise.race([asking, gone.promise]).finally(() => signal.removeEventListener('abort', abort))
  }

  async *requestMany(message: RequestMessage, timeoutMs: number, max: number, signal?: AbortSignal): AsyncGenerator<ReplyMessage> {
    this.#connection.mustBeConnected()
    const { name } = message
    const headers = encodeHeaders({ id: message.id, key: undefined, headers: message.headers, at: message.at })
    try {
      const answers = await this.#connection.nc.requestMany(name, message.body, {
        strategy: max > 0 ? 'count' : 'timer',
        maxWait: Math.max(1, timeoutMs),
        maxMessages: max,
        headers,
      })
      const stop = (): void => (answers as QueuedIterator<Msg>).stop()
      signal?.addEventListener('abort', stop, { once: true })
      try {
        for await (const reply of answers) {
          if (signal?.aborted) return
          yield { headers: decodeHeaders(blockOf(reply)).headers, body: reply.data }
        }
      } finally {
        signal?.removeEventListener('abort', stop)
      }
    } catch (thrown) {
      throw requestError(thrown, name, timeoutMs)
    }
  }

  async respond(
    pattern: string,
    group: string,
    listener: (message: RequestMessage) => Promise<ReplyMessage>,
  ): Promise<{ close(): Promise<void> }> {
    const running = new Set<Promise<void>>()
    let denied: Error | undefined
    const subscription = this.#connection.nc.subscribe(pattern, {
      queue: group,
      callback: (failure, msg) => {
        if (failure) denied = failure
        if (failure || !msg.reply) return
        const answering = answer(msg, listener).finally(() => running.delete(answering))
        running.add(answering)
      },
    })
    await this.#connection.nc.flush()
    if (denied) throw natsError(denied, `topic '${pattern}'`)
    return {
      close: async () => {
        await subscription.drain().catch(() => {})
        await Promise.all(running)
      },
    }
  }
}

async function answer(msg: Msg, listener: (message: RequestMessage) => Promise<ReplyMessage>): Promise<void> {
  const { id, headers, at } = decodeHeaders(blockOf(msg))
  try {
    const reply = await listener({ name: msg.subject, id: id ?? newId(), headers, body: msg.data, at: at ?? Date.now() })
    msg.respond(reply.body, { headers: encodeHeaders({ id: newId(), key: undefined, headers: reply.headers, at: Date.now() }) })
  } catch {
    // The asker's time runs out: an answer too large for the server, or a connection that is gone.
  }
}

function requestError(thrown: unknown, name: string, timeoutMs: number): BusError {
  const cause = (thrown as { cause?: unknown }).cause
  if (
    thrown instanceof errors.NoRespondersError ||
    cause instanceof errors.NoRespondersError ||
    (thrown instanceof errors.RequestError && thrown.isNoResponders())
  )
    return new BusError('no_responders', `nobody answers '${name}': start a responder, or look at the name`, { cause: thrown })
  if (thrown instanceof errors.TimeoutError || cause instanceof errors.TimeoutError)
    return new BusError(
      'timeout',
      `nobody answered '${name}' within ${timeoutMs} ms; ask with a longer timeout, or see whether its responder hangs`,
      { cause: thrown },
    )
  return natsError(thrown, `request to '${name}'`)
}

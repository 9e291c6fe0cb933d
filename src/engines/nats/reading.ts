import { AckPolicy, type ConsumerConfig, DeliverPolicy } from '@nats-io/jetstream'
import { createInbox, type Msg, nanos } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Page, ReadFrom, Stored } from '../engine.ts'
import type { Api } from './api.ts'
import type { Connection } from './connection.ts'
import { parseAck } from './delivery.ts'
import { natsError } from './failure.ts'
import { decodeHeaders, headersOf } from './headers.ts'
import { nameOf } from './names.ts'
import type { StreamRef, Streams } from './streams.ts'

const waitMs = 5000

/** Reads stored messages by a consumer that is gone after; the same on every server version. */
export async function readPage(
  connection: Connection,
  api: Api,
  streams: Streams,
  storage: string,
  after: ReadFrom,
  limit: number,
): Promise<Page> {
  const ref = await streams.existing(storage)
  try {
    const { state } = await api.streams.info(ref.name)
    const place = placeOf(after, state.last_seq)
    if (typeof place === 'number' && place >= state.last_seq) return { messages: [], next: String(place) }
    const from: Partial<ConsumerConfig> =
      typeof place === 'number'
        ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: place + 1 }
        : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: place.toISOString() }
    const messages = await readSome(connection, api, ref, ref.subjects, from, limit)
    // Past everything that is not of this topic: the next page begins where there may be something.
    const last = messages.at(-1)?.position
    return {
      messages,
      next: last ?? String(typeof place === 'number' ? Math.max(place, messages.length === 0 ? state.last_seq : 0) : state.last_seq),
    }
  } catch (error) {
    throw natsError(error, `reading topic '${storage}'`)
  }
}

/** Some messages of a stream, oldest first, by a consumer that is gone after. */
export async function readSome(
  connection: Connection,
  api: Api,
  ref: StreamRef,
  subjects: readonly string[],
  from: Partial<ConsumerConfig>,
  limit: number,
): Promise<Stored[]> {
  const info = await api.consumers.add(ref.name, {
    ack_policy: AckPolicy.None,
    inactive_threshold: nanos(waitMs),
    mem_storage: true,
    num_replicas: 1,
    ...(subjects.length === 1 ? { filter_subject: subjects[0]! } : { filter_subjects: [...subjects] }),
    ...from,
  })
  try {
    return info.num_pending === 0 ? [] : await fetch(connection, ref, info.name, Math.min(limit, info.num_pending))
  } finally {
    void api.consumers.delete(ref.name, info.name).catch(() => {})
  }
}

/** @throws BusError `invalid_argument` */
export function placeOf(after: ReadFrom, lastSequence: number): number | Date {
  if (after === 'start') return 0
  if (after === 'end') return lastSequence
  if (typeof after === 'object') return new Date(after.timeMs)
  const place = Number(after)
  if (!Number.isSafeInteger(place) || place < 0)
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(after)} is not one of a stream; use one that it gave, 'start', 'end' or a time`,
    )
  return place
}

function fetch(connection: Connection, ref: StreamRef, consumer: string, count: number): Promise<Stored[]> {
  const inbox = createInbox()
  const found: Stored[] = []
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer)
      subscription.unsubscribe()
      resolve(found)
    }
    const timer = setTimeout(() => {
      subscription.unsubscribe()
      reject(new BusError('engine_unavailable', `stream '${ref.name}' does not give its messages`))
    }, waitMs)
    const subscription = connection.nc.subscribe(inbox, {
      callback: (failure, msg) => {
        if (failure) return
        if (msg.subject === inbox) {
          if (msg.headers?.code !== 100) end()
          return
        }
        const stored = storedOf(msg, ref)
        if (stored) found.push(stored)
        if (found.length >= count) end()
      },
    })
    const request = JSON.stringify({ batch: count, expires: nanos(waitMs - 500) })
    connection.nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${ref.name}.${consumer}`, request, { reply: inbox })
  })
}

function storedOf(msg: Msg, ref: StreamRef): Stored | undefined {
  const ack = msg.reply === undefined ? undefined : parseAck(msg.reply)
  if (!ack) return undefined
  const { id, key, headers, at } = decodeHeaders(headersOf(msg))
  return {
    storage: ref.storage,
    name: nameOf(msg.subject, ref.partitions > 0),
    id: id ?? `${ref.name}:${ack.sequence}`,
    key,
    headers,
    body: msg.data,
    at: at ?? ack.atMs,
    position: String(ack.sequence),
  }
}

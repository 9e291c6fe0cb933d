import { AckPolicy, type ConsumerConfig, DeliverPolicy } from '@nats-io/jetstream'
import { createInbox, errors, type Msg, nanos } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Page, ReadFrom, Stored } from '../engine.ts'
import type { Api } from './api.ts'
import { untilAnswered } from './asking.ts'
import type { Connection } from './connection.ts'
import { type AckInfo, parseAck } from './delivery.ts'
import { apiCode, isApi, natsError } from './failure.ts'
import { decodeHeaders } from './headers.ts'
import { nameOf } from './names.ts'
import { blockOf } from './raw.ts'
import type { StreamRef, Streams } from './streams.ts'

const waitMs = 5000
/** Asked for at once. */
const together = 5000

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

/** Some messages of a stream, oldest first. */
export function readSome(
  connection: Connection,
  api: Api,
  ref: StreamRef,
  subjects: readonly string[],
  from: Partial<ConsumerConfig>,
  limit: number,
): Promise<Stored[]> {
  const filter = subjects.length === 1 ? { filter_subject: subjects[0]! } : { filter_subjects: [...subjects] }
  return readOnce(connection, api, ref.name, { ...filter, ...from }, limit, (msg, told) => storedOf(msg, told, ref))
}

/** What there is at this moment for a consumer, oldest first, by one that is gone after; what `take` makes of each message. */
export function readOnce<T>(
  connection: Connection,
  api: Api,
  stream: string,
  config: Partial<ConsumerConfig>,
  limit: number,
  take: (msg: Msg, told: AckInfo) => T | undefined,
): Promise<T[]> {
  return untilAnswered(async () => {
    const stands = connection.nc.info?.cluster === undefined ? 0 : (await api.streams.info(stream)).state.last_seq
    const info = await api.consumers.add(stream, {
      ack_policy: AckPolicy.None,
      inactive_threshold: nanos(waitMs),
      mem_storage: true,
      num_replicas: 1,
      ...config,
    })
    try {
      let last = (config.opt_start_seq ?? 0) - 1
      const note = (msg: Msg, told: AckInfo): T | undefined => {
        last = told.sequence
        return take(msg, told)
      }
      const count = Math.min(limit, info.num_pending)
      const found = count === 0 ? [] : await fetch(connection, stream, info.name, count, note)
      if (info.num_pending <= limit && last < stands && (await isBehind(api, stream, config, last, stands)))
        throw new BusError('engine_unavailable', `stream '${stream}': the server that was asked has not all of it yet`, {
          cause: new errors.TimeoutError(),
        })
      return found
    } finally {
      void api.consumers.delete(stream, info.name).catch(() => {})
    }
  })
}

/**
 * Whether the stream has more than the consumer told. In a cluster it may be on a server that is still catching up, which
 * takes what it has for all there is; the leader, who is asked here, has it all.
 */
async function isBehind(api: Api, stream: string, config: Partial<ConsumerConfig>, last: number, stands: number): Promise<boolean> {
  // From a time on, where nothing came: no sequence to begin at.
  if (last < 0 && config.opt_start_time !== undefined) return false
  for (const subject of config.filter_subjects ?? [config.filter_subject!]) {
    const next = await api.streams.getMessage(stream, { seq: Math.max(1, last + 1), next_by_subj: subject } as never).catch((error) => {
      if (isApi(error, apiCode.noMessage)) return null
      throw error
    })
    if (next && next.seq <= stands) return true
  }
  return false
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

function fetch<T>(
  connection: Connection,
  stream: string,
  consumer: string,
  count: number,
  take: (msg: Msg, told: AckInfo) => T | undefined,
): Promise<T[]> {
  const inbox = createInbox()
  const found: T[] = []
  let left = count
  let asked = 0
  return new Promise((resolve, reject) => {
    const end = (why?: string): void => {
      clearTimeout(timer)
      subscription.unsubscribe()
      if (why === undefined) resolve(found)
      // As if nobody had answered: the same again may do.
      else
        reject(
          new BusError('engine_unavailable', `stream '${stream}' does not give its messages: ${why}`, { cause: new errors.TimeoutError() }),
        )
    }
    const timer = setTimeout(() => end(`nothing came for ${waitMs} ms`), waitMs)
    const ask = (): void => {
      asked = Math.min(left, together)
      // What was deleted meanwhile is not waited for.
      const request = JSON.stringify({ batch: asked, no_wait: true })
      connection.nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, request, { reply: inbox })
    }
    // It must not throw: the client would stop reading.
    const subscription = connection.nc.subscribe(inbox, {
      callback: (failure, msg) => {
        if (failure) return
        if (msg.subject === inbox) {
          const { code, description } = msg.headers ?? {}
          end(code === 404 || code === 408 ? undefined : `${code} ${description}`)
          return
        }
        timer.refresh()
        const told = msg.reply === undefined ? undefined : parseAck(msg.reply)
        const taken = told && take(msg, told)
        if (taken !== undefined) found.push(taken)
        if (--left === 0) end()
        else if (--asked === 0) ask()
      },
    })
    ask()
  })
}

function storedOf(msg: Msg, told: AckInfo, ref: StreamRef): Stored {
  const { id, key, headers, at } = decodeHeaders(blockOf(msg))
  return {
    storage: ref.storage,
    name: nameOf(msg.subject, ref.partitions > 0),
    id: id ?? `${ref.name}:${told.sequence}`,
    key,
    headers,
    body: msg.data,
    at: at ?? told.atMs,
    position: String(told.sequence),
  }
}

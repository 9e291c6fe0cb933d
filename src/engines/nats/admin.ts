import { setTimeout as sleep } from 'node:timers/promises'
import { type ConsumerInfo, DeliverPolicy } from '@nats-io/jetstream'
import { BusError } from '../../errors.ts'
import { isPrivate } from '../../topic/name.ts'
import type { EngineAdmin, GroupInfo, ReadFrom, Retention, TopicInfo } from '../engine.ts'
import type { Api } from './api.ts'
import { untilAnswered } from './asking.ts'
import type { Buckets } from './buckets.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Connection } from './connection.ts'
import { type Consumers, filtersOf } from './consumers.ts'
import { natsError } from './failure.ts'
import { durableName, groupMark, ownersBucket, partitionToken, storageMark } from './names.ts'
import type { NatsOptions } from './options.ts'
import { scopeOf } from './plan.ts'
import { placeOf } from './reading.ts'
import { Retaining } from './retaining.ts'
import type { StreamRef, Streams } from './streams.ts'
import { TopicWatch } from './topic-watch.ts'

const electionMs = 10_000
const againMs = 200
/** A member that did not show itself for so long is none. */
const silentMs = 12_500

/** Streams and consumers as topics and groups. */
export class NatsAdmin implements EngineAdmin {
  readonly #api: Api
  readonly #streams: Streams
  readonly #consumers: Consumers
  readonly #checkpoints: Checkpoints
  readonly #buckets: Buckets
  readonly #options: NatsOptions
  readonly #watch: TopicWatch
  readonly #retaining: Retaining

  constructor(
    connection: Connection,
    api: Api,
    streams: Streams,
    consumers: Consumers,
    checkpoints: Checkpoints,
    buckets: Buckets,
    options: NatsOptions,
  ) {
    this.#api = api
    this.#streams = streams
    this.#consumers = consumers
    this.#checkpoints = checkpoints
    this.#buckets = buckets
    this.#options = options
    this.#watch = new TopicWatch(connection, api, streams)
    this.#retaining = new Retaining(api, streams)
  }

  async declare(storage: string, retention?: Retention): Promise<void> {
    const ref = await this.#streams.ensure(storage)
    const { provision = 'create' } = this.#options
    if (retention && ref.own && (provision === 'create' || provision === 'apply')) this.#retaining.keep(ref, retention)
    const { groups = [], ackWaitMs = 30_000 } = this.#options.shared?.(storage) ?? {}
    for (const group of groups) {
      const durable = {
        stream: ref.name,
        name: durableName(group, storage),
        group,
        storage,
        filters: ref.subjects,
        from: 'earliest' as const,
        ackWaitMs,
      }
      // How one that is there was made is the business of those who read it: who publishes is not refused for it.
      if (provision === 'apply' || !(await this.#consumers.find(durable.stream, durable.name))) await this.#consumers.ensure(durable)
    }
  }

  async topics(): Promise<TopicInfo[]> {
    try {
      return (await this.#streams.all()).map(({ storage, info: { state } }) => ({
        storage,
        messages: state.messages,
        bytes: state.bytes,
        firstAt: state.messages > 0 ? Date.parse(state.first_ts) : undefined,
        lastAt: state.messages > 0 ? Date.parse(state.last_ts) : undefined,
        scheduled: 0,
      }))
    } catch (error) {
      throw natsError(error, 'the streams')
    }
  }

  watchTopics(listener: (storage: string) => void): () => void {
    return this.#watch.add(listener)
  }

  async groups(storage: string): Promise<GroupInfo[]> {
    const ref = await this.#streams.existing(storage)
    return Promise.all([...(await this.#byGroup(ref))].map(([group, infos]) => this.#groupInfo(ref, group, infos)))
  }

  async #byGroup(ref: StreamRef): Promise<Map<string, ConsumerInfo[]>> {
    const byGroup = new Map<string, ConsumerInfo[]>()
    for (const info of await this.#of(ref)) {
      const group = info.config.metadata?.[groupMark] ?? info.name
      byGroup.set(group, [...(byGroup.get(group) ?? []), info])
    }
    return byGroup
  }

  /** The consumers of a group without members. @throws BusError `not_found`, `conflict` */
  async #idle(ref: StreamRef, group: string): Promise<ConsumerInfo[]> {
    const infos = (await this.#byGroup(ref)).get(group)
    if (!infos) throw new BusError('not_found', `topic '${ref.storage}' has no group '${group}'`)
    await this.#mustBeIdle(ref, group, infos)
    return infos
  }

  async #mustBeIdle(ref: StreamRef, group: string, infos: readonly ConsumerInfo[]): Promise<void> {
    const members = await this.#members(ref, infos)
    if (members === 0) return
    throw new BusError(
      'conflict',
      `group '${group}' of topic '${ref.storage}' has ${members} member${members === 1 ? '' : 's'}; close ${members === 1 ? 'it' : 'them'} first`,
    )
  }

  /** A list leaves out those whose leader is being elected: it is read again until all are there. */
  async #consumersOf(stream: string): Promise<ConsumerInfo[]> {
    for (const until = performance.now() + electionMs; ; await sleep(againMs)) {
      const found = await this.#api.consumers.list(stream)
      const { state } = await this.#api.streams.info(stream)
      if (found.length >= state.consumer_count || performance.now() > until) return found
    }
  }

  async #of(ref: StreamRef): Promise<ConsumerInfo[]> {
    const found: ConsumerInfo[] = []
    try {
      for (const info of await this.#consumersOf(ref.name)) {
        if (info.config.durable_name === undefined) continue
        const storage = info.config.metadata?.[storageMark]
        if (storage === undefined ? !isPrivate(ref.storage) : storage === ref.storage) found.push(info)
      }
    } catch (error) {
      throw natsError(error, `the groups of topic '${ref.storage}'`)
    }
    return found
  }

  async #groupInfo(ref: StreamRef, group: string, infos: readonly ConsumerInfo[]): Promise<GroupInfo> {
    const sum = (of: (info: ConsumerInfo) => number): number => infos.reduce((total, info) => total + of(info), 0)
    const filters = filtersOf(infos[0]!.config).map((filter) => filter.replace(new RegExp(`\\.${partitionToken}\\.[*0-9]+$`), ''))
    const filter = filters[0] === undefined || filters[0] === ref.storage ? undefined : filters[0]
    const pending = sum(({ num_pending }) => num_pending)
    const inHand = sum(({ num_ack_pending }) => num_ack_pending)
    return {
      storage: ref.storage,
      group,
      filter,
      lag: pending + inHand,
      inHand,
      waiting: sum(({ num_redelivered }) => num_redelivered),
      members: await this.#members(ref, infos),
      oldestMs: pending + inHand === 0 ? 0 : await this.#oldestMs(ref, infos),
    }
  }

  /** The age of the first message that is not acknowledged. */
  async #oldestMs(ref: StreamRef, infos: readonly ConsumerInfo[]): Promise<number | undefined> {
    const floors = infos.filter((info) => info.num_pending + info.num_ack_pending > 0).map(({ ack_floor }) => ack_floor.stream_seq)
    const stored = await this.#api.streams
      .getMessage(ref.name, { seq: Math.min(...floors) + 1, next_by_subj: '>' } as never)
      .catch(() => null)
    return stored ? Math.max(0, Date.now() - stored.time.getTime()) : undefined
  }

  async #members(ref: StreamRef, infos: readonly ConsumerInfo[]): Promise<number> {
    const first = firstOf(infos)
    const kv = await this.#buckets.get(ownersBucket)
    const now = first.ts === undefined ? Date.now() : Date.parse(first.ts as unknown as string)
    let members = 0
    for (const key of await this.#buckets.keys(ownersBucket, `m.${scopeOf(ref.name, first.name)}.*`)) {
      const entry = await untilAnswered(() => kv.get(key))
      if (entry?.operation === 'PUT' && now - entry.created.getTime() < silentMs) members++
    }
    // Others than ours show by the requests that wait.
    return Math.max(members, first.num_waiting > 0 ? 1 : 0)
  }

  async reset(storage: string, group: string, to: ReadFrom): Promise<void> {
    const ref = await this.#streams.existing(storage)
    const infos = await this.#idle(ref, group)
    try {
      const { state } = await this.#api.streams.info(ref.name)
      const place = placeOf(to, state.last_seq)
      for (const { name, config } of infos) {
        const { deliver_policy: _, opt_start_seq: __, opt_start_time: ___, ...kept } = config
        await this.#api.consumers.delete(ref.name, name)
        await this.#api.consumers.add(ref.name, {
          ...kept,
          ...(typeof place === 'number'
            ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: place + 1 }
            : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: place.toISOString() }),
        })
        // Last: with neither of them the group would stand nowhere.
        await this.#checkpoints.forget({ stream: ref.name, name })
      }
    } catch (error) {
      throw natsError(error, `group '${group}' of topic '${storage}'`)
    }
  }

  async deleteGroup(storage: string, group: string): Promise<void> {
    const ref = await this.#streams.existing(storage)
    const infos = await this.#idle(ref, group)
    for (const { name } of infos) {
      await this.#checkpoints.forget({ stream: ref.name, name })
      await this.#consumers.delete(ref.name, name)
    }
    // Who owned its parts last: nobody asks any more.
    const filter = `$KV.${ownersBucket}.p.${scopeOf(ref.name, firstOf(infos).name)}.>`
    await this.#api.streams.purge(`KV_${ownersBucket}`, { filter }).catch(() => {})
  }

  async purge(storage: string, before?: string): Promise<number> {
    const ref = await this.#streams.existing(storage)
    try {
      let purged = 0
      for (const filter of ref.subjects)
        purged += (await this.#api.streams.purge(ref.name, { filter, ...(before === undefined ? {} : { seq: Number(before) }) })).purged
      return purged
    } catch (error) {
      throw natsError(error, `purging topic '${storage}'`)
    }
  }

  async deleteTopic(storage: string): Promise<void> {
    const ref = await this.#streams.existing(storage)
    for (const [group, infos] of await this.#byGroup(ref)) await this.#mustBeIdle(ref, group, infos)
    try {
      if (ref.own) await this.#api.streams.delete(ref.name)
      else {
        // Others share the stream: only what is ours goes.
        for (const info of await this.#of(ref)) await this.#consumers.delete(ref.name, info.name)
        await this.purge(storage)
      }
    } catch (error) {
      throw natsError(error, `deleting topic '${storage}'`)
    } finally {
      this.#streams.forget(storage)
    }
  }

  close(): void {
    this.#watch.close()
    this.#retaining.close()
  }
}

/** The consumer that a group's members are known by. */
function firstOf(infos: readonly ConsumerInfo[]): ConsumerInfo {
  return infos.find((info) => !/-p\d+$/.test(info.name)) ?? infos[0]!
}

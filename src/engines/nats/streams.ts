import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig, type StreamInfo } from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import { isPrivate, mainOf } from '../../topic/name.ts'
import { covers, isPattern } from '../../topic/pattern.ts'
import type { Api } from './api.ts'
import { canChange, differences, textOf } from './drift.ts'
import { apiCode, isApi, natsError } from './failure.ts'
import { partitionsMark, partitionToken, replayStream, replaySubjects, storageMark, streamName } from './names.ts'
import type { NatsOptions } from './options.ts'
import { seeToCopies } from './own.ts'
import { placementOf } from './placement.ts'

/** Of servers from 2.14 on; those before refuse the setting, or know nothing of it. */
const fastIngestLevel = 4
const defaultWindowMs = 120_000

/** Where a storage lives. */
export interface StreamRef {
  readonly name: string
  readonly storage: string
  /** What a consumer of the whole storage filters by. */
  readonly subjects: readonly string[]
  /** 0 = keys have no partition. */
  readonly partitions: number
  readonly dedupeWindowMs: number
  /** Made here, for this storage alone. */
  readonly own: boolean
  readonly inMemory: boolean
  /** Takes many messages with one answer (fast ingest). */
  readonly batched: boolean
  /** The highest sequence seen there: what is sent from now on lies behind it. */
  last: number
}

/** Finds the stream of a storage, or makes it, once. */
export class Streams {
  readonly #api: Api
  readonly #options: NatsOptions
  readonly #known = new Map<string, Promise<StreamRef>>()

  readonly #clustered: () => boolean

  readonly #apiLevel: number

  #replaysSeenTo: Promise<void> | undefined

  constructor(api: Api, options: NatsOptions, clustered: () => boolean, apiLevel: number) {
    this.#api = api
    this.#options = options
    this.#clustered = clustered
    this.#apiLevel = apiLevel
  }

  /** Known already, so that a publish need not wait. */
  ready(storage: string): StreamRef | undefined {
    return this.#resolved.get(storage)
  }

  readonly #resolved = new Map<string, StreamRef>()

  /** As asked for, or less where a server keeps ids for a shorter time or a stream is there with another: of those made here and used so far. */
  get dedupeWindowMs(): number {
    let least = this.#options.dedupeWindowMs ?? defaultWindowMs
    for (const { own, storage, dedupeWindowMs } of this.#resolved.values())
      if (own && this.#options.shared?.(storage) === undefined) least = Math.min(least, dedupeWindowMs)
    return least
  }

  /** What is stored ends with its server: all that is made here, or one of the streams used so far. */
  get inMemory(): boolean {
    return this.#options.storage === 'memory' || [...this.#resolved.values()].some((ref) => ref.inMemory)
  }

  /** The stream of the storage, made where it is missing. @throws BusError `not_found` where nothing may be made */
  ensure(storage: string): Promise<StreamRef> {
    let known = this.#known.get(storage)
    if (!known) {
      known = this.#find(storage).then((found) => (found ? this.#asAsked(found) : this.#make(storage)))
      this.#known.set(storage, known)
      known.then(
        (ref) => this.#resolved.set(storage, ref),
        () => this.#known.delete(storage),
      )
    }
    return known
  }

  /** @throws BusError `not_found` */
  async existing(storage: string): Promise<StreamRef> {
    const ready = this.#resolved.get(storage)
    if (ready) return ready
    const found = await this.#find(storage)
    if (!found) throw new BusError('not_found', `there is no stream for topic '${storage}'`)
    return found
  }

  /** Whether anything is stored under the name or one of its partitions. */
  async hasMessages(storage: string): Promise<boolean> {
    const ref = await this.existing(storage)
    const info = await this.#api.streams.info(ref.name, { subjects_filter: `${storage}.>` })
    if (Object.keys(info.state.subjects ?? {}).length > 0) return true
    const plain = await this.#api.streams.info(ref.name, { subjects_filter: storage })
    return Object.keys(plain.state.subjects ?? {}).length > 0
  }

  /** It was deleted, or may have been: looked for again at the next use. */
  forget(storage: string): void {
    this.#known.delete(storage)
    this.#resolved.delete(storage)
  }

  async #find(storage: string): Promise<StreamRef | undefined> {
    try {
      const main = mainOf(storage)
      if (main !== undefined) {
        // A replay has the partition of its key, as the message itself had.
        const info = await this.info(replayStream)
        if (!info) return undefined
        return refOf(storage, info, (await this.#find(main))?.partitions ?? 0)
      }
      // By name first: one request for what the bus made itself.
      const own = await this.info(streamName(storage))
      if (own && holds(own.config, storage)) return refOf(storage, own)
      const names = await this.#api.streams.names(storage)
      for (const name of names) {
        const info = await this.info(name)
        if (info && holds(info.config, storage)) return refOf(storage, info)
      }
      if (own)
        throw new BusError(
          'conflict',
          `stream '${own.config.name}' holds '${own.config.subjects.join("', '")}', not topic '${storage}', whose name it has; rename the topic, or add the subject to the stream`,
        )
      return undefined
    } catch (error) {
      throw natsError(error, `topic '${storage}'`)
    }
  }

  /** `verify` and `apply` look at a stream that is there; `create` and `off` take it as it is. */
  async #asAsked(ref: StreamRef): Promise<StreamRef> {
    const { provision = 'create' } = this.#options
    if (provision === 'off') return ref
    const own = isPrivate(ref.storage)
    if (provision === 'create' && (!own || this.#options.replicas === undefined)) return ref
    const { config } = (await this.info(ref.name))!
    if (own) {
      // All replays lie in one stream.
      this.#replaysSeenTo ??= seeToCopies(this.#api, this.#options, { stream: ref.name, copies: config.num_replicas })
      await this.#replaysSeenTo.catch((error) => {
        this.#replaysSeenTo = undefined
        throw error
      })
      return ref
    }
    const wanted = this.#configOf(ref.storage)
    const found = differences(config, wanted)
    if (found.length === 0) return ref
    if (provision === 'verify' || !canChange(found))
      throw new BusError(
        'conflict',
        `stream '${ref.name}' is not as asked for: ${textOf(found)}; ${provision === 'verify' ? "change it, the options, or connect with provision: 'apply'" : 'the server changes this only by making the stream anew'}`,
      )
    const subjects = [...new Set([...(config.subjects ?? []), ...(wanted.subjects ?? [])])]
    try {
      await this.#api.streams.update(ref.name, {
        subjects,
        num_replicas: wanted.num_replicas!,
        duplicate_window: wanted.duplicate_window!,
        allow_direct: wanted.allow_direct!,
        ...(wanted.allow_batched === undefined ? {} : { allow_batched: wanted.allow_batched }),
      })
    } catch (error) {
      throw natsError(error, `stream '${ref.name}'`)
    }
    return (await this.#find(ref.storage)) ?? ref
  }

  async info(name: string): Promise<StreamInfo | undefined> {
    try {
      return await this.#api.streams.info(name)
    } catch (error) {
      if (isApi(error, apiCode.streamNotFound)) return undefined
      throw error
    }
  }

  async #make(storage: string): Promise<StreamRef> {
    const { provision = 'create' } = this.#options
    if (provision === 'off' || provision === 'verify')
      throw new BusError(
        'not_found',
        `there is no stream for topic '${storage}', and provision: '${provision}' makes none; make stream '${streamName(storage)}', or connect with provision: 'create'`,
      )
    const config = this.#configOf(storage)
    // Servers before 2.11 take any number, and keep one copy.
    if ((config.num_replicas ?? 1) > 1 && !this.#clustered())
      throw new BusError(
        'invalid_argument',
        `replicas is ${config.num_replicas}, and this server is no cluster; leave it at 1, or connect to a cluster`,
      )
    try {
      const { duplicate_window: window, ...others } = config
      const asked = this.#options.dedupeWindowMs ?? this.#options.shared?.(storage)?.dedupeWindowMs
      // A server that keeps ids for less refuses more than that, and takes its own where nothing is said.
      await this.#api.streams.add(asked === undefined ? others : { ...others, duplicate_window: window! })
      // In a cluster the server that answers may not have heard of it yet.
      for (let attempt = 0; attempt < 100; attempt++) {
        const made = await this.#find(storage)
        if (made) return made
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new BusError('engine_unavailable', `stream '${config.name}' was made and is not found`)
    } catch (error) {
      // Somebody else made it meanwhile, perhaps with other settings.
      if (isApi(error, apiCode.streamExists)) {
        const found = await this.#find(storage)
        if (found) return found
      }
      throw natsError(error, `stream '${config.name}' for topic '${storage}'`)
    }
  }

  #configOf(storage: string): Partial<StreamConfig> & { name: string } {
    const { placement, replicas = 1, storage: kind = 'file', partitions = 16, fastIngest } = this.#options
    const shared = this.#options.shared?.(storage)
    const dedupeWindowMs = shared?.dedupeWindowMs ?? this.#options.dedupeWindowMs ?? defaultWindowMs
    const partitioned = !isPrivate(storage) && isPattern(storage) && partitions > 0
    return {
      name: streamName(storage),
      subjects: isPrivate(storage) ? [replaySubjects] : partitioned ? [storage, `${storage}.${partitionToken}.*`] : [storage],
      // Each replay is for one group: done is gone.
      retention: isPrivate(storage) ? RetentionPolicy.Workqueue : RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      storage: kind === 'memory' ? StorageType.Memory : StorageType.File,
      num_replicas: replicas,
      ...(placement ? { placement: placementOf(placement) } : {}),
      duplicate_window: nanos(dedupeWindowMs),
      ...(shared?.maxAgeMs === undefined ? {} : { max_age: nanos(shared.maxAgeMs) }),
      allow_direct: true,
      ...(fastIngest === undefined || isPrivate(storage) || this.#apiLevel < fastIngestLevel ? {} : { allow_batched: fastIngest }),
      ...(isPrivate(storage)
        ? {}
        : { metadata: { [storageMark]: storage, ...(partitioned ? { [partitionsMark]: String(partitions) } : {}) } }),
    }
  }

  /** Every storage with its stream. */
  async all(): Promise<{ storage: string; info: StreamInfo }[]> {
    return (await this.#api.streams.list()).flatMap((info) => storagesOf(info.config).map((storage) => ({ storage, info })))
  }
}

/** What a stream stores; nothing, where it is a bucket or the bus's own. */
export function storagesOf({ name, metadata, subjects = [] }: StreamConfig): readonly string[] {
  if (/^(KV|OBJ)_/.test(name) || name === replayStream) return []
  const marked = metadata?.[storageMark]
  return marked === undefined ? subjects : [marked]
}

function holds({ subjects = [] }: Pick<StreamConfig, 'subjects'>, storage: string): boolean {
  return subjects.some((subject) => covers(subject, storage))
}

function refOf(storage: string, { config, state }: StreamInfo, ofMain?: number): StreamRef {
  const marked = config.metadata?.[storageMark]
  const own = marked === storage
  // A plain name inside a definition has the definition's partitions.
  const partitions = ofMain ?? (marked !== undefined && covers(marked, storage) ? Number(config.metadata?.[partitionsMark] ?? 0) : 0)
  return {
    name: config.name,
    storage,
    subjects: partitions > 0 ? [storage, `${storage}.${partitionToken}.*`] : [storage],
    partitions,
    dedupeWindowMs: config.duplicate_window / 1e6,
    own,
    inMemory: config.storage === StorageType.Memory,
    batched: own && config.allow_batched === true,
    last: state.last_seq,
  }
}

import { BusError } from '../../errors.ts'
import type { Source, StorageName } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { isForbidden } from './failure.ts'
import type { Http } from './http.ts'
import { isSystem, partitionName, storageName, topicName, withoutPartition } from './names.ts'

/** Under which a topic that was made here keeps the name of its storage. */
const nameNote = 'cozebus-name'
/** How long what is known of a topic's partitions holds, ms. */
const knownMs = 30_000

/** Topics by the names of their storages. */
export class Topics {
  readonly #cluster: Cluster
  readonly #http: Http | undefined
  readonly #known = new Map<StorageName, { readonly parts: readonly string[]; at: number }>()
  readonly #making = new Map<StorageName, Promise<readonly string[]>>()
  /** The whole names of those that were cut. */
  readonly #whole = new Map<string, StorageName>()
  #warned = false
  #listing: Promise<string[]> | undefined

  constructor(cluster: Cluster, http: Http | undefined) {
    this.#cluster = cluster
    this.#http = http
  }

  /** Where its HTTP interface has it. */
  path(topic: string): string {
    return `/admin/v2/persistent/${this.#cluster.namespace}/${encodeURIComponent(topic)}`
  }

  /** What is there already or was just made: the topic, or its partitions. What has become old is looked at meanwhile. */
  known(storage: StorageName): readonly string[] | undefined {
    const known = this.#known.get(storage)
    const now = performance.now()
    if (known && now - known.at >= knownMs) {
      known.at = now
      void this.#lookAgain(storage)
    }
    return known?.parts
  }

  async #lookAgain(storage: StorageName): Promise<void> {
    try {
      await this.#http?.ask('GET', `${this.path(topicName(storage))}/properties`)
      await this.again(storage)
    } catch (error) {
      // Somebody deleted it: it is made anew as it was, with what it keeps.
      if (error instanceof BusError && error.code === 'not_found') this.forget(storage)
    }
  }

  /** Once for all who ask at the same time. */
  #list(): Promise<string[]> {
    this.#listing ??= this.#cluster.topics().finally(() => {
      this.#listing = undefined
    })
    return this.#listing
  }

  /** Makes it where it is missing. @throws BusError `not_found`, `forbidden`, `engine_unavailable` */
  async ensure(storage: StorageName): Promise<readonly string[]> {
    const known = this.known(storage)
    if (known) return known
    const making = this.#making.get(storage) ?? this.#ensure(storage).finally(() => this.#making.delete(storage))
    this.#making.set(storage, making)
    return making
  }

  /** As it is by now: it may have got more partitions. */
  async again(storage: StorageName): Promise<readonly string[]> {
    const topic = topicName(storage)
    const count = await this.#cluster.partitions(topic)
    const parts = count > 0 ? Array.from({ length: count }, (_, i) => partitionName(topic, i)) : [topic]
    this.#known.set(storage, { parts, at: performance.now() })
    return parts
  }

  async #ensure(storage: StorageName): Promise<readonly string[]> {
    const topic = topicName(storage)
    const http = this.#http
    if (http) {
      const isThere = (await this.#list()).some((name) => withoutPartition(name) === topic)
      if (!isThere) await this.#make(http, storage, topic)
      else if (!this.#known.has(storage)) await this.#complete(http, topic)
    }
    return this.again(storage)
  }

  async #make(http: Http, storage: StorageName, topic: string): Promise<void> {
    const { partitions = 0 } = this.#cluster.options
    const path = this.path(topic)
    const note = { [nameNote]: storage }
    try {
      if (partitions === 0) await http.ask('PUT', path, note)
      else {
        await http.ask('PUT', `${path}/partitions`, partitions)
        await http.ask('PUT', `${path}/properties`, note)
      }
    } catch (error) {
      // Somebody else was faster.
      if (error instanceof BusError && error.code === 'conflict') return this.#complete(http, topic)
      return this.#mayNot(error)
    }
    await this.#keep(http, topic).catch((error: unknown) => this.#mayNot(error))
  }

  /** Who may use topics need not be one who may make them, or say what they keep: then they are as brokers make them by themselves. */
  #mayNot(error: unknown): void {
    if (!isForbidden(error)) throw error
    if (this.#warned) return
    this.#warned = true
    process.emitWarning(
      `topics are made by the brokers, with what they keep by default, as this role may not say it (a tenant's admin may): ${error.message}`,
      { type: 'CozebusWarning', code: error.code },
    )
  }

  /** Who made it, as its note tells, may have died before it had said how long it keeps; of topics of others that is theirs to say. */
  async #complete(http: Http, topic: string): Promise<void> {
    if ((await this.#noted(topic)) === undefined) return
    try {
      const kept = await http.ask('GET', `${this.path(topic)}/retention`)
      if (kept === undefined || kept === null) await this.#keep(http, topic)
    } catch (error) {
      // Whoever made it may.
      if (!isForbidden(error)) throw error
    }
  }

  /** Else what has no group yet, or none any more, is thrown away with the next of the broker's files. */
  async #keep(http: Http, topic: string): Promise<void> {
    const { historyMs = 7 * 86_400_000 } = this.#cluster.options
    if (historyMs === 0) return
    const retention = { retentionTimeInMinutes: Math.ceil(historyMs / 60_000), retentionSizeInMB: -1 }
    await http.ask('POST', `${this.path(topic)}/retention`, retention)
  }

  /** Every storage, with the topic behind it and its partitions. */
  async all(): Promise<Map<StorageName, { readonly topic: string; readonly parts: readonly string[] }>> {
    const found = new Map<string, string[]>()
    for (const name of await this.#cluster.topics()) {
      const topic = withoutPartition(name)
      if (isSystem(topic)) continue
      const parts = found.get(topic)
      if (parts) parts.push(name)
      else found.set(topic, [name])
    }
    const all = new Map<StorageName, { readonly topic: string; readonly parts: readonly string[] }>()
    for (const [topic, parts] of found) all.set(storageName(topic) ?? (await this.#wholeOf(topic)), { topic, parts })
    return all
  }

  async #wholeOf(topic: string): Promise<StorageName> {
    const whole = this.#whole.get(topic) ?? (await this.#noted(topic))
    if (whole === undefined) return topic
    this.#whole.set(topic, whole)
    return whole
  }

  /** What was noted when the topic was made here. */
  async #noted(topic: string): Promise<StorageName | undefined> {
    const asked = this.#http?.ask('GET', `${this.path(topic)}/properties`).catch((error: BusError) => {
      // It went meanwhile, or this role may not ask: then it has the name that Pulsar knows.
      if (error.code !== 'not_found' && !isForbidden(error)) throw error
    })
    const notes = (await asked) as Record<string, unknown> | null | undefined
    const whole = notes?.[nameNote]
    return typeof whole === 'string' ? whole : undefined
  }

  /** Where a group is to begin that is not there yet, as a time for seeking, ms; undefined: as its consumer says by itself. */
  async beginning({ storage, from }: Source, group: string): Promise<number | undefined> {
    if (typeof from === 'string') return undefined
    if (!this.#http)
      throw new BusError(
        'unsupported',
        `to begin a group at a time Pulsar's HTTP interface is needed: set pulsar.admin, or begin at 'earliest' or 'new'`,
      )
    const [first] = this.known(storage) ?? [topicName(storage)]
    const groups = (await this.#http.ask('GET', `${this.path(first!)}/subscriptions`)) as string[]
    return groups.includes(group) ? undefined : Math.max(1, Math.round(from.timeMs))
  }

  forget(storage: StorageName): void {
    this.#known.delete(storage)
  }
}

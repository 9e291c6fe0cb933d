import { isPrivate } from '../../topic/name.ts'
import type { Source, SubscriptionSpec } from '../engine.ts'
import type { Buckets } from './buckets.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { Connection } from './connection.ts'
import type { Consumers, Durable } from './consumers.ts'
import type { NatsDelivery } from './delivery.ts'
import { ownersBucket } from './names.ts'
import type { NatsOptions } from './options.ts'
import { Owners } from './owners.ts'
import { type Plan, partsOf, planOf, scopeOf } from './plan.ts'
import { Reader, type ReaderParts } from './reader.ts'
import type { StreamRef, Streams } from './streams.ts'

/** Replays are few: this many are asked for at once. */
const replaysAhead = 16
const againMs = 1000

export interface LaneParts {
  readonly connection: Connection
  readonly streams: Streams
  readonly consumers: Consumers
  readonly checkpoints: Checkpoints
  readonly buckets: Buckets
  readonly durables: NatsOptions['durables']
  readonly deliver: (delivery: NatsDelivery) => void
  readonly room: ReaderParts['room']
  readonly adopt: ReaderParts['adopt']
  readonly forsake: ReaderParts['forsake']
  readonly assigned: (scope: string, epoch: number) => void
  readonly revoked: (scope: string, epoch: number) => void
  /** Whether nothing of the scope is handed on: it is about to leave. */
  readonly stands: (scope: string) => boolean
  /** Resolves once the core has nothing of the scope, and gets nothing of it any more. */
  readonly empty: (scope: string) => Promise<void>
  /** Resolves once the server has again what is left of the scope. */
  readonly drain: (scope: string) => Promise<void>
  readonly warn: (text: string) => void
}

interface Reading {
  readonly source: Source
  readonly ref: StreamRef
  readonly plan: Plan
}

interface Owned {
  readonly scope: string
  readonly epoch: number
  readonly readers: Reader[]
  /** It goes back: nothing of it is read any more. */
  ends: boolean
}

/** A topic and its replays, which share lanes: whoever owns a part of one owns that part of the other. */
export class Lane {
  readonly #parts: LaneParts
  readonly #spec: SubscriptionSpec
  /** By storage. One that could not be read to its end goes on with the same durables at the next try. */
  readonly #sources = new Map<string, Reading>()
  /** Those that are read. */
  readonly #readings: Reading[] = []
  readonly #shared: Reader[] = []
  /** By part. */
  readonly #owned = new Map<number, Owned>()
  #owners: Owners | undefined
  #scope = ''
  #count = 0
  #stopped = false
  #wanted = 0
  readonly #bells: { unsubscribe(): void }[] = []
  #lookForReplays: (() => void) | undefined

  constructor(parts: LaneParts, spec: SubscriptionSpec) {
    this.#parts = parts
    this.#spec = spec
  }

  async add(source: Source): Promise<void> {
    const { streams } = this.#parts
    const ref = await streams.ensure(source.storage)
    const first = this.#owners === undefined
    if (first) this.#count = partsOf(this.#spec, ref)
    let reading = this.#sources.get(source.storage)
    if (!reading) {
      reading = { source, ref, plan: planOf(this.#spec, source, ref, this.#count, this.#parts.durables?.[this.#spec.group]) }
      this.#sources.set(source.storage, reading)
    }
    const { plan } = reading
    const read = (): Promise<void> => this.#read(reading)
    if (isPrivate(source.storage)) await this.#whenThereAreReplays(source, read)
    else await read()
    if (!first) return
    const { connection, buckets } = this.#parts
    this.#scope = scopeOf(ref.name, (plan.shared[0] ?? plan.owned[0])!.name)
    this.#owners = new Owners(
      await buckets.get(ownersBucket),
      (pattern) => buckets.keys(ownersBucket, pattern),
      connection,
      this.#scope,
      this.#spec.member,
      this.#count,
      ttlMs(this.#spec.leaseMs),
      {
        assigned: (part, epoch) => this.#assigned(part, epoch),
        revoked: (part, epoch) => this.#revoked(part, epoch),
        drained: (part) => this.#drained(part),
      },
    )
    await this.#owners.start()
  }

  /** A group without replays needs no consumers for them: they are made when the first one comes. */
  async #whenThereAreReplays(source: Source, read: () => Promise<void>): Promise<void> {
    const { connection, streams, warn } = this.#parts
    let begun = false
    const begin = (): void => {
      if (begun || this.#stopped) return
      begun = true
      read().catch((error) => {
        begun = false
        warn(`the replays of group '${this.#spec.group}' cannot be read, trying again: ${error}`)
        setTimeout(begin, againMs).unref()
      })
    }
    const look = (): void => {
      if (begun || this.#stopped) return
      streams.hasMessages(source.storage).then(
        (some) => some && begin(),
        () => void setTimeout(look, againMs).unref(),
      )
    }
    this.#lookForReplays = look
    const bells = [
      // What rang while nobody could hear it.
      { unsubscribe: connection.listen({ back: look }) },
      // In a moment: the message rings before it is stored.
      ...[source.storage, `${source.storage}.>`].map((subject) =>
        connection.nc.subscribe(subject, { callback: () => void setTimeout(begin, 5) }),
      ),
    ]
    try {
      if (await streams.hasMessages(source.storage)) {
        begun = true
        await read()
      }
      this.#bells.push(...bells)
    } catch (error) {
      // They are hung up anew at the next try.
      begun = true
      for (const bell of bells) bell.unsubscribe()
      throw error
    }
  }

  /** There are more replays than before, of whichever group: the bell may not have been heard. */
  lookForReplays(): void {
    this.#lookForReplays?.()
  }

  async #read(reading: Reading): Promise<void> {
    // All durables are there before anybody owns a part: a group begins where it began, not where its first owner came.
    await Promise.all([...reading.plan.shared, ...reading.plan.owned].map((durable) => this.#parts.checkpoints.ensure(durable)))
    if (this.#stopped) return
    if (!this.#readings.includes(reading)) this.#readings.push(reading)
    for (const durable of reading.plan.shared) {
      if (this.#shared.some((reader) => reader.durable === durable)) continue
      const reader = this.#reader(durable, reading.ref)
      this.#shared.push(reader)
      await this.#beginning(reader, this.#shared, reader.open())
    }
    for (const [part, owned] of this.#owned) await this.#own(reading, part, owned)
    this.want(this.#wanted)
  }

  #reader(durable: Durable, ref: StreamRef): Reader {
    const { connection, consumers, checkpoints, deliver, room, adopt, forsake, warn } = this.#parts
    const partitioned = ref.partitions > 0
    const reader = new Reader({ connection, consumers, checkpoints, durable, partitioned, deliver, room, adopt, forsake, warn })
    checkpoints.keep(reader)
    return reader
  }

  async #own(reading: Reading, part: number, owned: Owned): Promise<void> {
    const durable = reading.plan.owned[part]
    // A part may be taken while a source is added: whoever comes second finds it read already.
    if (!durable || owned.ends || owned.readers.some((reader) => reader.durable === durable)) return
    const reader = this.#reader(durable, reading.ref)
    owned.readers.push(reader)
    const held = (): boolean => this.#owners?.holds(part, owned.epoch) === true
    await this.#beginning(reader, owned.readers, reader.own(owned.scope, owned.epoch, held))
  }

  /** One that cannot begin leaves nothing behind: it is tried again with a new one. */
  async #beginning(reader: Reader, list: Reader[], begun: Promise<void>): Promise<void> {
    try {
      await begun
    } catch (error) {
      const at = list.indexOf(reader)
      if (at >= 0) list.splice(at, 1)
      void this.#end(reader)
      throw error
    }
  }

  #scopeName(part: number): string {
    return `${this.#scope}.${part}`
  }

  async #assigned(part: number, epoch: number): Promise<void> {
    if (this.#stopped) throw new Error('the subscription stops')
    const owned = { scope: this.#scopeName(part), epoch, readers: [] as Reader[], ends: false }
    this.#parts.assigned(owned.scope, epoch)
    this.#owned.set(part, owned)
    try {
      // It may be taken from us while we wait; its readers are stopped then.
      for (const reading of this.#readings) if (this.#owned.get(part) === owned) await this.#own(reading, part, owned)
    } catch (error) {
      this.#parts.warn(`part ${part} of group '${this.#spec.group}' cannot be read, trying again: ${error}`)
      throw error
    }
    this.want(this.#wanted)
  }

  #revoked(part: number, epoch: number): void {
    const owned = this.#owned.get(part)
    this.#owned.delete(part)
    for (const reader of owned?.readers ?? []) void this.#end(reader)
    this.#parts.revoked(this.#scopeName(part), epoch)
  }

  async #end(reader: Reader): Promise<void> {
    await reader.stop()
    await this.#parts.checkpoints.drop(reader, this.#parts.connection.connected)
  }

  async #drained(part: number): Promise<void> {
    const scope = this.#scopeName(part)
    const owned = this.#owned.get(part)
    // Its readers stay until then: the part may have to work on here.
    await this.#parts.empty(scope)
    // Lost meanwhile: it may be ours again, or somebody else's.
    if (!owned || this.#owned.get(part) !== owned) return
    owned.ends = true
    await Promise.all(owned.readers.map((reader) => this.#end(reader)))
    await this.#parts.drain(scope)
  }

  /** A lease of the scope ran out: it begins anew, at what is not acknowledged. */
  renew(scope: string): void {
    const [of, part] = scope.split('.')
    if (of === this.#scope) void this.#owners?.renew(Number(part))
  }

  /** So many shall be under way, over all readers together; a little more may come. */
  want(messages: number): void {
    this.#wanted = messages
    if (this.#stopped) return
    for (const reader of this.#shared) ask(reader, messages)
    let working = 0
    for (const { scope } of this.#owned.values()) if (!this.#parts.stands(scope)) working++
    const each = Math.ceil(messages / Math.max(1, working))
    for (const { scope, readers } of this.#owned.values()) if (!this.#parts.stands(scope)) for (const reader of readers) ask(reader, each)
  }

  /** How many ask the server. */
  get readers(): number {
    return this.#readers().length
  }

  /** Why nothing comes, while that is so. */
  get trouble(): string | undefined {
    for (const { trouble } of this.#readers()) if (trouble !== undefined) return trouble
    return undefined
  }

  #readers(): Reader[] {
    return [...this.#shared, ...[...this.#owned.values()].flatMap(({ readers }) => readers)]
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#owners?.stop()
    for (const bell of this.#bells) bell.unsubscribe()
    await Promise.all(this.#readers().map((reader) => reader.stop()))
  }

  async close(): Promise<void> {
    await this.stop()
    const { checkpoints, connection } = this.#parts
    await Promise.all(this.#readers().map((reader) => checkpoints.drop(reader, connection.connected)))
    await this.#owners?.close()
  }
}

function ask(reader: Reader, messages: number): void {
  const most = isPrivate(reader.durable.storage) ? Math.min(replaysAhead, messages) : messages
  const more = most - reader.asked
  // A request for each message would cost more than the message.
  // None more: it may have waited for room.
  reader.want(more > 0 && (more >= most / 4 || reader.asked === 0) ? more : 0)
}

/** How long a member that went silent keeps its parts: a part of the lease, as long as a pause of the event loop may last. */
function ttlMs(leaseMs: number): number {
  return Math.max(3000, Math.min(10_000, leaseMs / 2))
}

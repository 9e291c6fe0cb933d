import type { KV } from '@nats-io/kv'
import type { Msg, Subscription } from '@nats-io/transport-node'
import type { Connection } from './connection.ts'
import { ownersBucket } from './names.ts'

/** What the parts of a group are told of who owns them. */
export interface OwnerSink {
  /** Part n is ours from now on; `epoch` grows with each owner; `clean`: the one before gave all back. A rejection gives it back. */
  assigned(part: number, epoch: number, clean: boolean): Promise<void>
  /** Part n is not ours any more: somebody else may have it already. */
  revoked(part: number, epoch: number): void
  /** Somebody else shall have it: resolves once nothing of it is in hand; false when something of it is not known to be given back. */
  drained(part: number): Promise<boolean>
}

const readAgainMs = 30_000
/** No owner, and what the last one had is not given back. */
const disorder = '!'

interface Beat {
  readonly at: number
  readonly ttlMs: number
}

/**
 * Who owns which part of a group. Members show that they live by a key each, written again and again; parts have a key
 * with the owner's name, which is written by compare-and-set, so that two can never take one. A member that could not
 * show itself in time counts as dead, to itself first: it lets go before others may take.
 * No expiry of keys: the same on every server version. What others write is heard as core messages, which may be
 * missed; the bucket is the truth, and is read again when nothing was heard for a while.
 */
export class Owners {
  readonly #kv: KV
  readonly #connection: Connection
  readonly #scope: string
  readonly #member: string
  readonly #parts: number
  readonly #ttlMs: number
  readonly #sink: OwnerSink
  readonly #beats = new Map<string, Beat>()
  /** Who owns what, by what was heard. */
  readonly #owned = new Map<number, string>()
  /** Ours: part → epoch. */
  readonly #mine = new Map<number, number>()
  readonly #leaving = new Set<number>()
  #shownAt = 0
  /** Our clock less the server's, ms. */
  #offsetMs = 0
  #hearing: Subscription | undefined
  #readAt = 0
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #again = false
  #closed = false
  readonly #stopListening: () => void

  constructor(kv: KV, connection: Connection, scope: string, member: string, parts: number, ttlMs: number, sink: OwnerSink) {
    this.#kv = kv
    this.#scope = scope
    this.#member = member
    this.#parts = parts
    this.#ttlMs = ttlMs
    this.#sink = sink
    this.#connection = connection
    this.#stopListening = connection.listen({ back: () => void this.#read().catch(() => {}) })
  }

  async start(): Promise<void> {
    await this.#show()
    const own = await this.#kv.get(`m.${this.#scope}.${this.#member}`)
    if (own) this.#offsetMs = Date.now() - own.created.getTime()
    this.#hearing = this.#connection.nc.subscribe(`$KV.${ownersBucket}.*.${this.#scope}.*`, { callback: this.#hear })
    await this.#connection.nc.flush()
    await this.#read()
    this.#timer = setInterval(this.#tick, this.#ttlMs / 4)
    this.#timer.unref()
  }

  /** Members that live, by what we know. */
  get members(): number {
    return this.#live(Date.now()).length
  }

  // It must not throw: the client would stop reading.
  #hear = (failure: Error | null, msg: Msg): void => {
    if (failure) return
    const [, , kind, , name = ''] = msg.subject.split('.')
    const put = !msg.headers?.has('KV-Operation')
    const text = msg.string()
    if (kind === 'm') {
      if (put) this.#beats.set(name, { at: Date.now(), ttlMs: Number(text) })
      else this.#beats.delete(name)
    } else this.#owned.set(Number(name), put ? text : '')
    this.#look()
  }

  /** What stands in the bucket. */
  async #read(): Promise<void> {
    this.#readAt = Date.now()
    const found = await this.#kv.keys([`m.${this.#scope}.*`, `p.${this.#scope}.*`])
    for await (const key of found) {
      const entry = await this.#kv.get(key)
      if (entry?.operation !== 'PUT') continue
      const [kind, , name = ''] = key.split('.')
      if (kind === 'm')
        this.#beats.set(name, { at: Math.min(Date.now(), entry.created.getTime() + this.#offsetMs), ttlMs: Number(entry.string()) })
      else this.#owned.set(Number(name), entry.string())
    }
    this.#look()
  }

  #tick = (): void => {
    this.#show().then(
      () => (Date.now() - this.#readAt > readAgainMs ? void this.#read().catch(() => {}) : this.#look()),
      () => this.#checkSelf(),
    )
  }

  async #show(): Promise<void> {
    const begun = Date.now()
    this.#checkSelf()
    const key = `m.${this.#scope}.${this.#member}`
    await this.#kv.put(key, String(this.#ttlMs), { timeout: Math.max(500, this.#ttlMs / 4) })
    this.#shownAt = begun
  }

  /** Could not show ourselves for too long: others may take us for dead soon. */
  #checkSelf(): void {
    if (this.#mine.size === 0 || Date.now() - this.#shownAt < this.#ttlMs * 0.75) return
    for (const [part, epoch] of [...this.#mine]) {
      this.#mine.delete(part)
      this.#sink.revoked(part, epoch)
    }
  }

  #live(now: number): string[] {
    const live: string[] = []
    for (const [member, { at, ttlMs }] of this.#beats) if (member === this.#member || now - at < ttlMs * 1.25) live.push(member)
    if (!live.includes(this.#member)) live.push(this.#member)
    return live.sort()
  }

  /** One look at a time; what changes meanwhile asks for another. */
  #look(): void {
    if (this.#closed) return
    if (this.#looking) {
      this.#again = true
      return
    }
    this.#looking = this.#share()
      .catch(() => {})
      .finally(() => {
        this.#looking = undefined
        if (!this.#again) return
        this.#again = false
        this.#look()
      })
  }

  async #share(): Promise<void> {
    const now = Date.now()
    if (now - this.#shownAt >= this.#ttlMs * 0.5) return
    const live = this.#live(now)
    const fair = Math.ceil(this.#parts / live.length)
    for (let part = 0; part < this.#parts && this.#mine.size - this.#leaving.size < fair; part++) {
      if (!this.#mine.has(part) && this.#isFree(this.#owned.get(part), live)) await this.#take(part, live)
    }
    for (const part of [...this.#mine.keys()].reverse()) {
      if (this.#mine.size - this.#leaving.size <= fair) break
      if (!this.#leaving.has(part)) void this.#leave(part)
    }
  }

  #isFree(owner: string | undefined, live: readonly string[]): boolean {
    return owner === undefined || owner === '' || owner === disorder || owner === this.#member || !live.includes(owner)
  }

  async #take(part: number, live: readonly string[]): Promise<void> {
    const key = `p.${this.#scope}.${part}`
    const entry = await this.#kv.get(key)
    const owner = entry?.operation === 'PUT' ? entry.string() : undefined
    if (owner !== undefined) this.#owned.set(part, owner)
    if (!this.#isFree(owner, live)) return
    let epoch: number
    try {
      epoch = owner === undefined ? await this.#kv.create(key, this.#member) : await this.#kv.update(key, this.#member, entry!.revision)
    } catch {
      return // somebody else was quicker, and will be heard
    }
    // Dead and buried: its key would stay for ever.
    const clean = owner === undefined || owner === ''
    if (!clean && owner !== disorder && owner !== this.#member) void this.#kv.purge(`m.${this.#scope}.${owner}`).catch(() => {})
    this.#owned.set(part, this.#member)
    if (!this.#closed) {
      this.#mine.set(part, epoch)
      try {
        await this.#sink.assigned(part, epoch, clean)
        return
      } catch {
        this.#mine.delete(part)
      }
    }
    await this.#free(part, epoch, clean)
  }

  async #leave(part: number): Promise<void> {
    this.#leaving.add(part)
    const clean = await this.#sink.drained(part)
    this.#leaving.delete(part)
    const epoch = this.#mine.get(part)
    if (epoch === undefined) return
    this.#mine.delete(part)
    this.#sink.revoked(part, epoch)
    await this.#free(part, epoch, clean)
    this.#look()
  }

  /** Lets go of a part that is in disorder: whoever takes it next, this member or another, begins at what is not acknowledged. */
  async renew(part: number): Promise<void> {
    const epoch = this.#mine.get(part)
    if (epoch === undefined) return
    this.#mine.delete(part)
    this.#sink.revoked(part, epoch)
    await this.#free(part, epoch, false)
    this.#look()
  }

  async #free(part: number, epoch: number, clean: boolean): Promise<void> {
    const how = clean ? '' : disorder
    try {
      await this.#kv.update(`p.${this.#scope}.${part}`, how, epoch)
      this.#owned.set(part, how)
    } catch {
      // Taken meanwhile, or not to be reached: then it counts as ours until we count as dead.
    }
  }

  /** No more parts are taken. */
  stop(): void {
    this.#closed = true
  }

  /** Gives all back; what was in hand must be settled or given back before. Until here the member shows that it lives. */
  async close(): Promise<void> {
    this.stop()
    clearInterval(this.#timer)
    this.#stopListening()
    this.#hearing?.unsubscribe()
    await this.#looking
    await Promise.all([...this.#mine].map(async ([part, epoch]) => this.#free(part, epoch, await this.#sink.drained(part))))
    this.#mine.clear()
    await this.#kv.purge(`m.${this.#scope}.${this.#member}`).catch(() => {})
  }
}

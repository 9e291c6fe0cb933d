import type { KV } from '@nats-io/kv'
import type { Msg, Subscription } from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import { apiCode, isApi } from './failure.ts'
import { headersOf } from './headers.ts'
import { ownersBucket } from './names.ts'
import { type Beat, type Share, shareOf } from './shares.ts'

/** What the parts of a group are told of who owns them. */
export interface OwnerSink {
  /** Part n is ours from now on; `epoch` grows with each owner. A rejection gives it back. */
  assigned(part: number, epoch: number): Promise<void>
  /** Part n is not ours any more: somebody else may have it already. */
  revoked(part: number, epoch: number): void
  /** Somebody else shall have it: resolves once nothing of it is in hand. */
  drained(part: number): Promise<void>
}

const readAgainMs = 30_000
/** What was heard of a part is looked up then, and once more: a write may be slower than the first look. */
const verifyMs = 200
const verifyAgainMs = 2000
const looks = 2
/** A part that could not begin is taken again after this, then after twice as long, and so on. */
const firstPauseMs = 50
const lastPauseMs = 5000

interface Mine {
  readonly epoch: number
  revision: number
}

/**
 * Who owns which part of a group. Members show that they live by a key each, written again and again; parts have a key
 * with the owner's name, which is written by compare-and-set, so that two can never take one. A member that could not
 * show itself in time counts as dead, to itself first: it lets go before others may take.
 * No expiry of keys: the same on every server version. What others write is heard as core messages, which may be
 * missed, and which are heard even of a write that fails; the bucket is the truth, and is read again now and then.
 * Time is measured by clocks that nobody sets.
 */
export class Owners {
  readonly #kv: KV
  readonly #keys: (pattern: string) => Promise<string[]>
  readonly #connection: Connection
  readonly #scope: string
  readonly #member: string
  readonly #parts: number
  readonly #ttlMs: number
  readonly #sink: OwnerSink
  readonly #beats = new Map<string, Beat>()
  /** Who owns what, by what was heard. */
  readonly #owned = new Map<number, string>()
  /** Ours. The epoch is that of our taking it; the revision that of its key now. */
  readonly #mine = new Map<number, Mine>()
  /** Parts that could not begin: others may, before us. */
  readonly #pauses = new Map<number, { readonly forMs: number; readonly until: number }>()
  readonly #leaving = new Set<number>()
  readonly #doubted = new Set<number>()
  /** Parts that were heard of, with how often they are still to be looked up. */
  readonly #hearsay = new Map<number, number>()
  #verify: NodeJS.Timeout | undefined
  #verifyAt = 0
  readonly #beginning = new Set<Promise<void>>()
  #shownAt = 0
  #shownWallAt = 0
  /** Our clock less the server's, ms; Infinity while it is not known: then everybody counts as just seen. */
  #offsetMs = Number.POSITIVE_INFINITY
  #hearing: Subscription | undefined
  /** Why what others write is not heard. */
  #deaf: Error | undefined
  /** How often the connection was lost, and how often when the bucket was read last: between the two others are not heard, and seem dead. */
  #losses = 0
  #lossesRead = -1
  #readAt = 0
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #again = false
  #closed = false
  readonly #stopListening: () => void

  constructor(
    kv: KV,
    keys: (pattern: string) => Promise<string[]>,
    connection: Connection,
    scope: string,
    member: string,
    parts: number,
    ttlMs: number,
    sink: OwnerSink,
  ) {
    this.#kv = kv
    this.#keys = keys
    this.#scope = scope
    this.#member = member
    this.#parts = parts
    this.#ttlMs = ttlMs
    this.#sink = sink
    this.#connection = connection
    this.#stopListening = connection.listen({
      lost: () => {
        this.#losses++
      },
      back: () => void this.#read().catch(() => {}),
    })
  }

  async start(): Promise<void> {
    await this.#show()
    const own = await this.#kv.get(`m.${this.#scope}.${this.#member}`)
    if (own) this.#offsetMs = performance.now() - own.created.getTime()
    this.#hearing = this.#connection.nc.subscribe(`$KV.${ownersBucket}.*.${this.#scope}.*`, { callback: this.#hear })
    await this.#connection.nc.flush()
    // Members that are not heard would count as dead, and what they own be taken from them while they work on it.
    if (this.#deaf)
      throw new BusError('forbidden', `this user may not subscribe to $KV.${ownersBucket}.>, by which members of a group hear each other`, {
        cause: this.#deaf,
      })
    await this.#read()
    this.#timer = setInterval(this.#tick, this.#ttlMs / 4)
    this.#timer.unref()
  }

  /** Whether the part is still ours, so that nobody else can have it: also before a pause of this process was noticed. */
  holds(part: number, epoch: number): boolean {
    return this.#mine.get(part)?.epoch === epoch && this.#silentMs() < this.#ttlMs
  }

  /** Since we showed ourselves. A machine that slept shows in one clock only, and so does one whose clock was set: the longer one counts. */
  #silentMs(): number {
    return Math.max(performance.now() - this.#shownAt, Date.now() - this.#shownWallAt)
  }

  // It must not throw: the client would stop reading.
  #hear = (failure: Error | null, msg: Msg): void => {
    if (failure) {
      this.#deaf = failure
      return
    }
    const [, , kind, , name = ''] = msg.subject.split('.')
    const put = !headersOf(msg)?.has('KV-Operation')
    const text = msg.string()
    if (kind === 'm') {
      if (put) this.#beats.set(name, { at: performance.now(), ttlMs: Number(text), revision: 0 })
      else this.#beats.delete(name)
    } else {
      const part = Number(name)
      const owner = put ? text : ''
      this.#owned.set(part, owner)
      // Whoever writes lives, though its own sign of life was before our time.
      if (owner !== '') this.#seen(owner)
      if (owner !== this.#member && this.#mine.has(part)) void this.#doubt(part)
      this.#hearsay.set(part, looks)
      this.#verifyIn(verifyMs)
    }
    this.#look()
  }

  #seen(member: string): void {
    const { ttlMs, revision } = this.#beats.get(member) ?? { ttlMs: this.#ttlMs, revision: 0 }
    this.#beats.set(member, { at: performance.now(), ttlMs, revision })
  }

  /** Somebody wrote, or tried to write, that a part of ours is his: whether he did, a write of our own tells. */
  async #doubt(part: number): Promise<void> {
    const mine = this.#mine.get(part)
    if (!mine || this.#doubted.has(part)) return
    this.#doubted.add(part)
    try {
      mine.revision = await this.#kv.update(`p.${this.#scope}.${part}`, this.#member, mine.revision)
      this.#owned.set(part, this.#member)
    } catch (error) {
      if (isApi(error, apiCode.wrongLastSequence) && this.#mine.get(part) === mine) this.#lose(part)
    } finally {
      this.#doubted.delete(part)
    }
  }

  #lose(part: number): void {
    const mine = this.#mine.get(part)
    if (!mine) return
    this.#mine.delete(part)
    this.#sink.revoked(part, mine.epoch)
  }

  /** What stands in the bucket. */
  async #read(): Promise<void> {
    this.#readAt = performance.now()
    const losses = this.#losses
    const keys = await this.#keys(`*.${this.#scope}.*`)
    const entries = await Promise.all(keys.map((key) => this.#kv.get(key)))
    const now = performance.now()
    for (const entry of entries) {
      if (entry?.operation !== 'PUT') continue
      const [kind, , name = ''] = entry.key.split('.')
      if (kind === 'm') {
        const known = this.#beats.get(name)
        // Written since the last look: it lives, whatever the clock of the server that wrote it down says.
        const moved = known !== undefined && known.revision !== 0 && known.revision !== entry.revision
        const at = moved ? now : Math.min(now, entry.created.getTime() + this.#offsetMs)
        this.#beats.set(name, { at: Math.max(known?.at ?? 0, at), ttlMs: Number(entry.string()), revision: entry.revision })
      } else {
        const part = Number(name)
        const mine = this.#mine.get(part)
        this.#owned.set(part, entry.string())
        if (mine && entry.string() !== this.#member && entry.revision > mine.revision) this.#lose(part)
      }
    }
    this.#lossesRead = losses
    this.#forgetDead(now)
    this.#look()
  }

  /** Members that never came back: their keys would stay for ever. */
  #forgetDead(now: number): void {
    for (const [member, { at, ttlMs }] of this.#beats) {
      if (member === this.#member || now - at < 10 * ttlMs + readAgainMs) continue
      this.#beats.delete(member)
      void this.#bury(member)
    }
  }

  /** Told to the others, and no mark of it is kept. */
  async #bury(member: string): Promise<void> {
    if (!this.#connection.connected) return // it stops showing itself, which tells as much, later
    const key = `m.${this.#scope}.${member}`
    try {
      await this.#kv.purge(key)
      const filter = JSON.stringify({ filter: `$KV.${ownersBucket}.${key}` })
      await this.#connection.nc.request(`$JS.API.STREAM.PURGE.KV_${ownersBucket}`, filter, { timeout: 2000 })
    } catch {
      // Somebody else will see that it is dead.
    }
  }

  #tick = (): void => {
    this.#show().then(
      () => (this.#blind || performance.now() - this.#readAt > readAgainMs ? void this.#read().catch(() => {}) : this.#look()),
      () => this.#checkSelf(),
    )
  }

  async #show(): Promise<void> {
    const begun = performance.now()
    const wall = Date.now()
    this.#checkSelf()
    const key = `m.${this.#scope}.${this.#member}`
    await this.#kv.put(key, String(this.#ttlMs), { timeout: Math.max(500, this.#ttlMs / 4) })
    this.#shownAt = begun
    this.#shownWallAt = wall
  }

  /** Could not show ourselves for too long: others may take us for dead soon. */
  #checkSelf(): void {
    if (this.#mine.size === 0 || this.#silentMs() < this.#ttlMs * 0.75) return
    for (const part of [...this.#mine.keys()]) this.#lose(part)
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

  #verifyIn(ms: number): void {
    const at = performance.now() + ms
    if (this.#verify && this.#verifyAt <= at) return
    clearTimeout(this.#verify)
    this.#verifyAt = at
    this.#verify = setTimeout(this.#check, ms)
    this.#verify.unref()
  }

  /** What was heard of parts: a write that failed is heard too, and one that did not is heard before it is stored. */
  #check = async (): Promise<void> => {
    this.#verify = undefined
    await Promise.all(
      [...this.#hearsay].map(async ([part, left]) => {
        try {
          if (!this.#mine.has(part)) {
            const entry = await this.#kv.get(`p.${this.#scope}.${part}`)
            if (!this.#mine.has(part)) this.#owned.set(part, entry?.operation === 'PUT' ? entry.string() : '')
          }
          // Heard of anew meanwhile: that asks for looks of its own.
          if (this.#hearsay.get(part) !== left) return
          if (left > 1) this.#hearsay.set(part, left - 1)
          else this.#hearsay.delete(part)
        } catch {
          // Nobody answers: it stays to be looked up. Taken for true it would keep a part without an owner.
        }
      }),
    )
    if (this.#closed) return
    if (this.#hearsay.size > 0) this.#verifyIn(verifyAgainMs)
    this.#look()
  }

  async #share(): Promise<void> {
    const { first } = this.#fair()
    for (let i = 0; i < this.#parts; i++) {
      // Others may have been heard of while we waited for the server.
      const { live, fair } = this.#fair()
      if (this.#closed || this.#blind || this.#silentMs() >= this.#ttlMs * 0.5 || this.#mine.size - this.#leaving.size >= fair) break
      const part = (first + i) % this.#parts
      if (this.#mine.has(part) || (this.#pauses.get(part)?.until ?? 0) > performance.now()) continue
      if (this.#isFree(this.#owned.get(part), live)) await this.#take(part)
    }
    const { fair } = this.#fair()
    for (const part of [...this.#mine.keys()].reverse()) {
      if (this.#mine.size - this.#leaving.size <= fair) break
      if (!this.#leaving.has(part)) void this.#leave(part)
    }
    for (const [part, owner] of this.#owned) if (owner === this.#member && !this.#mine.has(part)) await this.#disown(part)
  }

  /** What others did since the connection was lost is not known: some may only seem dead, and what they own free. */
  get #blind(): boolean {
    return this.#lossesRead !== this.#losses
  }

  #fair(): Share {
    return shareOf(this.#member, this.#parts, this.#owned, this.#beats, performance.now())
  }

  #isFree(owner: string | undefined, live: ReadonlySet<string>): boolean {
    if (owner === undefined || owner === '' || owner === this.#member) return true
    if (live.has(owner)) return false
    if (this.#beats.has(owner)) return true
    // One that we never heard of may have come a moment ago: it has the time of any other to show itself.
    this.#seen(owner)
    return false
  }

  async #take(part: number): Promise<void> {
    const key = `p.${this.#scope}.${part}`
    const entry = await this.#kv.get(key)
    const owner = entry?.operation === 'PUT' ? entry.string() : undefined
    if (owner !== undefined) this.#owned.set(part, owner)
    if (!this.#isFree(owner, this.#fair().live)) return
    let epoch: number
    try {
      epoch = owner === undefined ? await this.#kv.create(key, this.#member) : await this.#kv.update(key, this.#member, entry!.revision)
    } catch {
      return // somebody else was quicker, and will be heard
    }
    // Our own write is heard before its answer: another name since then is that of somebody who was slower.
    const disputed = this.#owned.get(part) !== this.#member
    this.#owned.set(part, this.#member)
    if (this.#closed) return this.#free(part, epoch)
    const mine = { epoch, revision: epoch }
    this.#mine.set(part, mine)
    // The others have heard it too, and are told again.
    if (disputed) void this.#doubt(part)
    // Parts begin side by side: the server may take its time over each.
    const beginning = this.#sink
      .assigned(part, epoch)
      .then(
        () => void this.#pauses.delete(part),
        async () => {
          this.#pause(part)
          await this.#giveUp(part, mine)
        },
      )
      .finally(() => this.#beginning.delete(beginning))
    this.#beginning.add(beginning)
  }

  /** It could not be given up when it should have been, and nobody else may take it while we live. */
  async #disown(part: number): Promise<void> {
    const entry = await this.#kv.get(`p.${this.#scope}.${part}`)
    if (entry?.operation !== 'PUT' || this.#mine.has(part)) return
    this.#owned.set(part, entry.string())
    if (entry.string() === this.#member) await this.#free(part, entry.revision)
  }

  async #leave(part: number): Promise<void> {
    const mine = this.#mine.get(part)!
    this.#leaving.add(part)
    await this.#sink.drained(part).catch(() => {})
    this.#leaving.delete(part)
    await this.#giveUp(part, mine)
  }

  /** Lets go of a part that is in disorder: whoever takes it next, this member or another, begins at what is not acknowledged. */
  async renew(part: number): Promise<void> {
    const mine = this.#mine.get(part)
    if (mine) await this.#giveUp(part, mine)
  }

  /** Unless it was lost, and perhaps taken again, meanwhile. */
  async #giveUp(part: number, mine: Mine): Promise<void> {
    if (this.#mine.get(part) !== mine) return
    this.#lose(part)
    await this.#free(part, mine.revision)
    this.#look()
  }

  async #free(part: number, revision: number): Promise<void> {
    if (!this.#connection.connected) return // it counts as ours until we count as dead
    try {
      await this.#kv.update(`p.${this.#scope}.${part}`, '', revision)
      this.#owned.set(part, '')
    } catch {
      // Taken meanwhile, or not to be reached.
    }
  }

  #pause(part: number): void {
    const forMs = Math.min(lastPauseMs, 2 * (this.#pauses.get(part)?.forMs ?? firstPauseMs / 2))
    this.#pauses.set(part, { forMs, until: performance.now() + forMs })
    setTimeout(() => this.#look(), forMs).unref()
  }

  /** No more parts are taken. */
  stop(): void {
    this.#closed = true
  }

  /** Gives all back; what was in hand must be settled or given back before. Until here the member shows that it lives. */
  async close(): Promise<void> {
    this.stop()
    clearInterval(this.#timer)
    clearTimeout(this.#verify)
    this.#stopListening()
    this.#hearing?.unsubscribe()
    // What has begun ends first; where the server is away it would only wait for answers.
    if (this.#connection.connected) await Promise.all([this.#looking, ...this.#beginning])
    await Promise.all(
      [...this.#mine].map(async ([part, mine]) => {
        await this.#sink.drained(part).catch(() => {})
        // Not ours from before the write on: somebody else has it as soon as that is heard.
        if (this.#mine.get(part) === mine && this.#mine.delete(part)) await this.#free(part, mine.revision)
      }),
    )
    await this.#bury(this.#member)
  }
}

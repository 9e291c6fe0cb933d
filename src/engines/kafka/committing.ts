import { setTimeout as sleep } from 'node:timers/promises'
import { BusError } from '../../errors.ts'
import type { Delivery } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { apiIdOf } from './failure.ts'
import type { Membership } from './membership.ts'
import { type Committed, commitEach } from './offsets.ts'
import { offsetOf, type Part } from './part.ts'
import { mostBeside, readMark, within } from './settled.ts'

const againMs = 1000
/** From one commit to the next: what is settled meanwhile goes along. */
const apartMs = 5

/** A no to one topic's offsets; any other is one to the member. */
const ofTopic = new Set(['TOPIC_AUTHORIZATION_FAILED', 'UNKNOWN_TOPIC_OR_PARTITION'])
const tooLarge = 'OFFSET_METADATA_TOO_LARGE'

interface Marked {
  readonly part: Part
  readonly mark: ReturnType<Part['mark']>
}

/** Commits what has changed, one commit at a time: those who ask meanwhile share the next one. */
export class Committing {
  readonly #cluster: Cluster
  readonly #group: string
  readonly #membership: Membership
  readonly #parts: ReadonlyMap<string, Part>
  readonly #changed: (part: Part) => void
  /** What was committed last of a partition, also of one that was given away: by scope and epoch. */
  readonly #past = new Map<string, Committed>()
  /** How much may stand beside an offset: brokers are set up differently, and say so only when it is too much. */
  #beside = mostBeside
  #current: Promise<void> | undefined
  #next: Promise<void> | undefined
  #soon: Promise<void> | undefined
  #begunAt = Number.NEGATIVE_INFINITY
  #again: NodeJS.Timeout | undefined
  #ended = false

  /** `changed`: told of a part whose commits are refused from now on, or are taken again. */
  constructor(cluster: Cluster, group: string, membership: Membership, parts: ReadonlyMap<string, Part>, changed: (part: Part) => void) {
    this.#cluster = cluster
    this.#group = group
    this.#membership = membership
    this.#parts = parts
    this.#changed = changed
  }

  /**
   * Resolves once all that was settled before the call is committed, but for parts that are {@link Part.refused}: those are
   * tried again and again.
   */
  commit(): Promise<void> {
    if (!this.#current) {
      this.#begunAt = performance.now()
      this.#current = this.#once().finally(() => {
        this.#current = undefined
      })
      return this.#current
    }
    this.#next ??= this.#current
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.commit()
      })
    return this.#next
  }

  /** The same where nobody waits for it but those who let go of what is handled: many of them share one. */
  commitSoon(): Promise<void> {
    const waitMs = this.#begunAt + apartMs - performance.now()
    if (waitMs <= 0) return this.commit()
    this.#soon ??= sleep(waitMs).then(() => {
      this.#soon = undefined
      return this.commit()
    })
    return this.#soon
  }

  /** Whether it was acknowledged in time, of a partition that is not ours any more. */
  committedOf(delivery: Delivery): boolean {
    const past = this.#past.get(`${delivery.scope}@${delivery.fence}`)
    if (!past) return false
    const offset = offsetOf(delivery)
    return offset < past.offset || within(readMark(past.offset, past.metadata).settled, offset)
  }

  end(): void {
    this.#ended = true
    clearTimeout(this.#again)
  }

  async #once(): Promise<void> {
    for (;;) {
      const marks = this.#changedMarks()
      if (marks.length === 0) return
      const refusals = await this.#send(marks)
      const small = !refusals.includes(tooLarge)
      for (const [i, { part, mark }] of marks.entries()) {
        const refusal = refusals[i]
        if (refusal === tooLarge) continue
        if (refusal === undefined) {
          part.marked(mark)
          this.#remember(part, mark)
        }
        if (part.refused === refusal) continue
        part.refused = refusal
        this.#changed(part)
      }
      if (small || this.#beside === 0) return
      this.#beside = Math.floor(this.#beside / 2)
    }
  }

  #changedMarks(): Marked[] {
    const marks: Marked[] = []
    for (const part of this.#parts.values()) {
      const mark = part.mark(this.#beside)
      if (mark.text !== part.committed) marks.push({ part, mark })
    }
    return marks
  }

  /** What each of them is refused for. Rejects where that is not of some alone. */
  async #send(marks: readonly Marked[]): Promise<(string | undefined)[]> {
    if (this.#ended) throw new BusError('closed', 'the subscription is closed')
    const { identity } = this.#membership
    if (identity.generation < 0) throw new BusError('engine_unavailable', `group '${this.#group}': not a member at the moment`)
    const offsets = new Map<string, Map<number, Committed>>()
    for (const { part, mark } of marks) {
      // Of a part that was to go and stays: what is handed out from here on must be in a later one.
      part.handed = Math.min(part.handed, mark.handed)
      // Whatever becomes of it, the broker may have taken it.
      part.committed = undefined
      const own = offsets.get(part.topic) ?? new Map<number, Committed>()
      offsets.set(part.topic, own.set(part.partition, mark))
    }
    try {
      const codes = await commitEach(this.#cluster, this.#group, identity, offsets)
      const refusals = marks.map(({ part: { topic, partition } }) => this.#refusal(codes.get(topic)?.get(partition) ?? 0))
      if (refusals.some((refusal) => refusal !== undefined && refusal !== tooLarge)) this.#tryAgain()
      return refusals
    } catch (error) {
      if (apiIdOf(error) === 'NOT_COORDINATOR' || apiIdOf(error) === undefined) this.#cluster.forgetCoordinator(this.#group)
      // Between two rounds nothing is committed; what stays ours is, after the next.
      throw error
    }
  }

  #refusal(errorCode: number): string | undefined {
    if (errorCode === 0) return undefined
    const id = this.#cluster.kafka.protocolErrorsCodesById[errorCode]!
    if (id !== tooLarge && !ofTopic.has(id)) this.#cluster.fail(errorCode, `group '${this.#group}'`)
    return id
  }

  /** Somebody may give the permission meanwhile. */
  #tryAgain(): void {
    clearTimeout(this.#again)
    this.#again = setTimeout(() => void this.commit().catch(() => {}), againMs).unref()
  }

  #remember(part: Part, { offset, metadata }: Committed): void {
    const key = `${part.scope}@${part.epoch}`
    // The newest at the end: what goes is what nobody has committed for longest.
    this.#past.delete(key)
    this.#past.set(key, { offset, metadata })
    if (this.#past.size > 2000) this.#past.delete(this.#past.keys().next().value!)
  }
}

import type { Connection, ConnectionPool } from '@platformatic/kafka'
import { BusError } from '../../errors.ts'
import { within } from '../../within.ts'
import { type Assignment, assign, decodeSaid, encodeSaid, type Member, range, type Said } from './assigning.ts'
import type { Cluster } from './cluster.ts'
import { apiIdOf, kafkaError } from './failure.ts'
import { type Membership as Identity, nobody } from './offsets.ts'

/** Ours first; `range` where members of other clients, Coze's Go bus among them, are in the group. */
const own = 'cozebus'
const foreign = 'range'

const rebalanceMs = 20_000
const longestJoinMs = 5 * 60_000
/** A member hears by its beat that another joins. */
const beatMs = 1000
/** Whoever leads the group looks so often whether a topic has more partitions. */
const countMs = 5000
/** A goodbye that a busy broker does not hear keeps the group waiting for the whole session. */
const leaveMs = 2000
/** For what is still asked when the connections are dropped. */
const lastAnswerMs = 1000
const keepAliveMs = 10_000
const firstWaitMs = 50
const lastWaitMs = 1000

/**
 * `orderly`: what is not in it is this member's until it comes again without it. Else that is somebody else's by now; and
 * `missed` where a round in between may have given away what is in it.
 */
export type Outcome = 'orderly' | 'at once' | 'missed'

export interface MembershipEvents {
  /** What this member reads and has: asked before each round. `amongOthers`: what it reads where not all are of ours. */
  says(): { readonly topics: readonly string[]; readonly amongOthers: readonly string[]; readonly said: Said }
  assigned(partitions: ReadonlyMap<string, readonly number[]>, generation: number, how: Outcome): void
  /** The group goes on without this member: all it had is somebody else's. */
  lost(reason: string): void
  /** Why it cannot be a member, though the broker answers; undefined once it is one. */
  kept(from: BusError | undefined): void
}

/** One member of a group: joins, beats, and joins anew whenever something of the group changes. */
export class Membership {
  readonly #cluster: Cluster
  readonly #group: string
  readonly #events: MembershipEvents
  readonly #pool: ConnectionPool
  readonly #sessionMs: number
  #memberId = ''
  #generation = -1
  /** The newest round whose outcome is known here. */
  #synced = -1
  #ended = false
  #again = false
  #wake: (() => void) | undefined
  #heardAt = performance.now()
  #had = false
  /** Partitions as they were shared, where this member did it. */
  #counts: ReadonlyMap<string, number> | undefined
  #countedAt = 0
  #running: Promise<void> | undefined
  #clock: NodeJS.Timeout | undefined
  /** A round is on: its answers wait for all members. */
  #joining: Connection | undefined
  #beating = false
  readonly #first = Promise.withResolvers<void>()

  constructor(cluster: Cluster, group: string, events: MembershipEvents) {
    this.#cluster = cluster
    this.#group = group
    this.#events = events
    // The answer to a join waits for all members: one of Go's may take its minute.
    this.#pool = cluster.pool(longestJoinMs)
    this.#sessionMs = cluster.target.options.sessionTimeoutMs ?? 30_000
    this.#first.promise.catch(() => {})
  }

  /** Who commits. */
  get identity(): Identity {
    return this.#generation < 0 ? nobody : { generation: this.#generation, memberId: this.#memberId }
  }

  /** Resolves with the first round. @throws BusError where it can come to nothing */
  start(): Promise<void> {
    this.#running = this.#run()
    this.#clock = setInterval(() => this.#tick(), this.#everyMs)
    return this.#first.promise
  }

  /** What this member says of itself has changed. */
  rejoin(): void {
    this.#again = true
    this.#wake?.()
  }

  async leave(): Promise<void> {
    this.#ended = true
    clearInterval(this.#clock)
    this.#wake?.()
    if (this.#memberId !== '') {
      // A broker that is away is not waited for.
      const left = this.#cluster
        .coordinator(this.#group)
        .then((connection) =>
          this.#cluster.ask(connection, 'LeaveGroup', this.#group, [{ memberId: this.#memberId, groupInstanceId: null, reason: null }]),
        )
      await within(
        leaveMs,
        left.catch(() => {}),
      )
    }
    this.#first.reject(new BusError('closed', 'the subscription was closed'))
    this.#cluster.drop(this.#pool)
    // What it still asks is answered to nobody.
    await within(lastAnswerMs, this.#running ?? Promise.resolve())
  }

  async #run(): Promise<void> {
    for (let wait = firstWaitMs; !this.#ended; ) {
      try {
        await this.#round().finally(() => {
          this.#joining = undefined
        })
        wait = firstWaitMs
        this.#first.resolve()
        this.#events.kept(undefined)
        await this.#beat()
      } catch (error) {
        if (this.#ended) return
        const hopeless = this.#judge(error)
        if (hopeless) {
          this.#first.reject(hopeless)
          this.#events.kept(hopeless)
          wait = lastWaitMs
        }
        this.#mindTheTime()
        await this.#pause(wait)
        wait = Math.min(lastWaitMs, wait * 2)
      }
    }
  }

  // ── a round ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #round(): Promise<void> {
    this.#again = false
    const { topics, amongOthers, said } = this.#events.says()
    const { kafka } = this.#cluster
    const userData = Buffer.from(encodeSaid(said))
    const saying = (name: string, read: readonly string[]) => ({
      name,
      metadata: kafka.encodeConsumerProtocolSubscription({ version: 0, topics: [...read], userData }),
    })
    const joined = await this.#join([saying(own, topics), saying(foreign, amongOthers)])
    const missed = this.#had && joined.generationId !== this.#synced + 1
    this.#generation = joined.generationId
    const leads = joined.leader === joined.memberId
    const protocol = joined.protocolName ?? foreign
    this.#counts = undefined
    const assignments = leads ? await this.#share(joined.members, protocol) : []
    const connection = await this.#cluster.coordinator(this.#group, this.#pool)
    const synced = await this.#cluster.ask(
      connection,
      'SyncGroup',
      this.#group,
      joined.generationId,
      joined.memberId,
      null,
      'consumer',
      protocol,
      assignments,
    )
    this.#heardAt = performance.now()
    this.#had = true
    this.#synced = joined.generationId
    const { assignedPartitions } = kafka.decodeConsumerProtocolAssignment(synced.assignment)
    const partitions = new Map(assignedPartitions.map((one) => [one.topic, one.partitions]))
    // By our own protocol nobody is given what another has.
    this.#events.assigned(partitions, joined.generationId, protocol === own ? 'orderly' : missed ? 'missed' : 'at once')
  }

  async #join(protocols: { name: string; metadata: Buffer }[]) {
    for (;;) {
      const connection = await this.#cluster.coordinator(this.#group, this.#pool)
      // For minutes nothing may come over it: whether there is somebody at its other end has to be asked below.
      connection.socket?.setKeepAlive(true, keepAliveMs)
      this.#joining = connection
      try {
        const joined = await this.#cluster.ask(
          connection,
          'JoinGroup',
          this.#group,
          this.#sessionMs,
          rebalanceMs,
          this.#memberId,
          null,
          'consumer',
          protocols,
          null,
        )
        this.#memberId = joined.memberId
        return joined
      } catch (error) {
        // The broker names a member first, and lets it in when it comes again.
        const named = memberIn(error)
        if (apiIdOf(error) !== 'MEMBER_ID_REQUIRED' || named === undefined) throw error
        this.#memberId = named
      }
    }
  }

  async #share(joined: readonly { memberId: string; metadata: Buffer }[], protocol: string) {
    const { kafka } = this.#cluster
    const members = joined.map(({ memberId, metadata }): Member => {
      const { topics, userData } = kafka.decodeConsumerProtocolSubscription(metadata)
      return { id: memberId, topics, said: decodeSaid(userData) }
    })
    const names = [...new Set(members.flatMap(({ topics }) => topics))]
    await this.#cluster.refresh(names)
    const counts = this.#count(names)
    this.#counts = new Map(names.map((name) => [name, counts.get(name) ?? 0]))
    this.#countedAt = performance.now()
    const shared: Assignment = protocol === own ? assign(members, counts) : range(members, counts)
    return [...shared].map(([memberId, topics]) => ({
      memberId,
      assignment: kafka.encodeConsumerProtocolAssignment({
        version: 0,
        assignedPartitions: [...topics].map(([topic, partitions]) => ({ topic, partitions })),
      }),
    }))
  }

  #count(names: Iterable<string>): Map<string, number> {
    const counts = new Map<string, number>()
    for (const name of names) {
      const topic = this.#cluster.known(name)
      if (topic) counts.set(name, topic.leaders.length)
    }
    return counts
  }

  // ── between rounds ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Returns when another round is needed; throws what the broker says otherwise. */
  async #beat(): Promise<void> {
    while (!this.#ended && !this.#again) {
      await this.#pause(this.#everyMs)
      if (this.#ended || this.#again) return
      if (performance.now() - this.#countedAt >= countMs) void this.#countAgain()
      try {
        if (await this.#isRoundWanted()) return
      } catch (error) {
        const api = apiIdOf(error)
        if (this.#judge(error)) throw error
        if (api === 'UNKNOWN_MEMBER_ID' || api === 'ILLEGAL_GENERATION' || api === 'FENCED_INSTANCE_ID') return
        this.#mindTheTime()
        if (this.#memberId === '') return
        await this.#pause(firstWaitMs)
      }
    }
  }

  get #everyMs(): number {
    return Math.min(beatMs, this.#sessionMs / 4)
  }

  /** Whatever is asked, and however long its answer takes: the broker counts the time of this member meanwhile. */
  #tick(): void {
    this.#mindTheTime()
    if (this.#joining && this.#had && !this.#beating) void this.#beatMeanwhile()
  }

  /** While a round is on, over another connection: what is to be heard is that the broker is there and knows this member. */
  async #beatMeanwhile(): Promise<void> {
    this.#beating = true
    try {
      await this.#isRoundWanted()
    } catch (error) {
      if (apiIdOf(error) === 'UNKNOWN_MEMBER_ID') this.#out('the broker does not know this member any more')
    } finally {
      this.#beating = false
    }
  }

  /** Tells the broker that this member is there; whether it wants another round. Throws whatever else it says. */
  async #isRoundWanted(): Promise<boolean> {
    try {
      const connection = await this.#cluster.coordinator(this.#group)
      await this.#cluster.ask(connection, 'Heartbeat', this.#group, this.#generation, this.#memberId, null)
      this.#heardAt = performance.now()
      return false
    } catch (error) {
      if (apiIdOf(error) !== 'REBALANCE_IN_PROGRESS') throw error
      this.#heardAt = performance.now()
      return true
    }
  }

  /** Another round, where there is more, or less, to share. */
  async #countAgain(): Promise<void> {
    const before = this.#counts
    if (!before) return
    this.#countedAt = performance.now()
    await this.#cluster.refresh([...before.keys()], 0).catch(() => {})
    const now = this.#count(before.keys())
    if (this.#counts === before && [...before].some(([name, count]) => (now.get(name) ?? 0) !== count)) this.rejoin()
  }

  /** What the error means for this member; returned where trying again mends nothing by itself. */
  #judge(error: unknown): BusError | undefined {
    switch (apiIdOf(error)) {
      case 'UNKNOWN_MEMBER_ID':
      case 'ILLEGAL_GENERATION':
      case 'FENCED_INSTANCE_ID':
        this.#out('the broker does not know this member any more')
        return undefined
      case 'REBALANCE_IN_PROGRESS':
      case 'MEMBER_ID_REQUIRED':
        return undefined
      default: {
        this.#cluster.forgetCoordinator(this.#group)
        const told = kafkaError(error, `group '${this.#group}'`)
        return told.code === 'engine_unavailable' ? undefined : told
      }
    }
  }

  /** Unheard for a session: the broker has given away what was ours, or will without asking. */
  #mindTheTime(): void {
    if (this.#had && performance.now() - this.#heardAt > this.#sessionMs) this.#out(`no answer for ${this.#sessionMs} ms`)
  }

  #out(reason: string): void {
    this.#memberId = ''
    this.#generation = -1
    if (!this.#had) return
    // What is still awaited there would come too late.
    this.#joining?.socket?.destroy()
    this.#had = false
    this.#events.lost(reason)
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }
}

function memberIn(error: unknown): string | undefined {
  const { response } = error as { response?: { memberId?: string } }
  return response?.memberId
}

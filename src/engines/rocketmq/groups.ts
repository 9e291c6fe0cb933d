import { createHash } from 'node:crypto'
import type { Source } from '../engine.ts'
import { beside } from './beside.ts'
import type { Broker, Cluster, Queue, Route } from './cluster.ts'
import { refused } from './failure.ts'
import type { Floors } from './floors.ts'
import { NotedPlaces } from './noted-places.ts'
import { placesOf } from './offsets.ts'
import { answer, looseJson, request } from './protocol.ts'

const lockAgainMs = 30
const lockForMs = 5000

/**
 * A member's name on the brokers, which tells what it reads, and with whom it shares keys: a group may be one for several
 * topics there.
 */
export function clientId(member: string, topics: readonly string[], lanes: readonly string[]): string {
  const list = (names: readonly string[]): string => [...new Set(names.map(shortOf))].join('.')
  return `${encodeURIComponent(member)}@${ownerId(member)}@cozebus@${list(topics)}@${list(lanes)}`
}

/** As whom it owns queues: that stays, whatever it reads, and is a number of 48 bits, as a broker keeps those beside a group. */
export const ownerId = (member: string): string => createHash('sha256').update(member).digest('hex').slice(0, 12)

/** Of one of our members. */
export const ownerOfClient = (client: string): string | undefined => /@([0-9a-f]{12})@cozebus@/.exec(client)?.[1]

const shortOf = (name: string): string => createHash('sha256').update(name).digest('hex').slice(0, 10)

const ours = /@cozebus@([0-9a-f.]*)@([0-9a-f.]*)$/

export const isOurs = (client: string): boolean => ours.test(client)

/** Whether a client of the group reads the topic; of one that is not ours that is not known, and it counts. */
function reads(client: string, topic: string): boolean {
  const found = ours.exec(client)
  return !found || found[1]!.split('.').includes(shortOf(topic))
}

/** Whether it takes part in what is shared under these lanes. */
export function sharesLanes(client: string, lanes: string): boolean {
  const found = ours.exec(client)
  return !found || found[2]!.split('.').includes(shortOf(lanes))
}

/** Groups as the brokers have them: each broker has its own. */
export class Groups {
  readonly #cluster: Cluster
  readonly floors: Floors
  /** Where groups began that do not begin with what is there: a broker may forget that, and the next member would begin later. */
  readonly #begun: NotedPlaces

  constructor(cluster: Cluster, floors: Floors) {
    this.#cluster = cluster
    this.floors = floors
    this.#begun = new NotedPlaces(cluster, 'cozebus-begun', 'where groups began')
  }

  /** Makes it where it is missing; its settings stay where it is there. */
  async ensure(brokers: readonly Broker[], group: string): Promise<void> {
    const what = `group '${group}'`
    const settings = {
      groupName: group,
      consumeEnable: true,
      consumeFromMinEnable: true,
      consumeBroadcastEnable: true,
      consumeMessageOrderly: false,
      retryQueueNums: 1,
      retryMaxTimes: 16,
      brokerId: 0,
      whichBrokerWhenConsumeSlowly: 1,
      notifyConsumerIdsChangedEnable: true,
      groupSysFlag: 0,
      consumeTimeoutMinute: 15,
    }
    for (const broker of brokers) {
      const found = await this.#cluster.askAny(broker, request.groupConfig, { group }, what)
      if (found.code === answer.ok) continue
      const made = await this.#cluster.askAny(broker, request.createGroup, {}, what, Buffer.from(JSON.stringify(settings)))
      // Who may not make one may still join one, and the broker makes it where it is set to.
      if (made.code !== answer.ok && refused(made, what).code !== 'forbidden') throw refused(made, what)
    }
  }

  /** Where the group stands in a queue; undefined where it never was. */
  async committed(group: string, topic: string, { broker, id }: Queue): Promise<number | undefined> {
    const what = `group '${group}' on topic '${topic}'`
    const fields = { consumerGroup: group, topic, queueId: String(id), setZeroIfNotFound: 'false' }
    const frame = await this.#cluster.askAny(broker, request.committed, fields, what)
    if (frame.code === answer.noOffset) return undefined
    if (frame.code !== answer.ok) throw refused(frame, what)
    const offset = Number(frame.fields['offset'])
    return Number.isSafeInteger(offset) && offset >= 0 ? offset : undefined
  }

  async commit(group: string, topic: string, { broker, id }: Queue, offset: number): Promise<void> {
    const fields = { consumerGroup: group, topic, queueId: String(id), commitOffset: String(offset) }
    await this.#cluster.ask(broker, request.commit, fields, `group '${group}' on topic '${topic}'`)
  }

  /**
   * Puts the group where it is to begin, in the queues where it never was. One member at a time: another may have gone on already.
   * `queues`: only those, of a group that was admitted to all before.
   */
  async admit(group: string, route: Route, from: Source['from'], client: string, queues = route.readable): Promise<void> {
    const missing = async (): Promise<Queue[]> => {
      const stands = await Promise.all(queues.map((queue) => this.committed(group, route.topic, queue)))
      return queues.filter((_, i) => stands[i] === undefined)
    }
    const before = await missing()
    if (before.length === 0) return
    // A lock of its own: that of a queue may be its owner's, who is admitted once more after a broker has forgotten the group.
    const gate: Queue[] = [{ broker: before[0]!.broker, id: beside.gate }]
    for (const until = performance.now() + lockForMs; (await this.lock(group, route.topic, gate, client)).length === 0; ) {
      if (performance.now() > until) break
      await new Promise((resolve) => setTimeout(resolve, lockAgainMs))
      if ((await missing()).length === 0) return
    }
    try {
      const still = await missing()
      if (still.length === 0) return
      const here = { ...route, readable: queues }
      const starts = await this.floors.starts(here)
      // Of a topic that it reads already, queues are missing that were added since: it has read nothing of them.
      const isNew = still.length === route.readable.length
      const places = from === 'earliest' ? starts : await this.#begin(group, here, isNew, from, starts)
      await Promise.all(queues.map(async (queue, i) => still.includes(queue) && this.commit(group, route.topic, queue, places[i]!)))
    } finally {
      await this.unlock(group, route.topic, gate, client).catch(() => {})
    }
  }

  /** Where it began before, or where it begins now, which is noted before anybody goes by it; one for each queue of the route. */
  async #begin(
    group: string,
    { topic, readable }: Route,
    isNew: boolean,
    from: Exclude<Source['from'], 'earliest'>,
    starts: readonly number[],
  ): Promise<number[]> {
    const key = begunKey(group, topic)
    const noted = await this.#begun.of(key, topic, readable, starts)
    if (!isNew || noted.every((place) => place !== undefined)) return noted.map((place, i) => place ?? starts[i]!)
    const places = await placesOf(this.#cluster, topic, readable, from === 'new' ? 'end' : from, 0, starts)
    await this.#begun.note(key, topic, readable, places)
    return places
  }

  /** Those of the queues, all on one broker, that are this client's now: for a minute after each time it says so. */
  async lock(group: string, topic: string, queues: readonly Queue[], client: string): Promise<Queue[]> {
    const frame = await this.#cluster.ask(queues[0]!.broker, request.lock, {}, `group '${group}'`, lockBody(group, topic, queues, client))
    const { lockOKMQSet } = looseJson(frame.body) as { lockOKMQSet?: { queueId?: unknown }[] }
    const ids = new Set((lockOKMQSet ?? []).map(({ queueId }) => queueId))
    return queues.filter(({ id }) => ids.has(id))
  }

  async unlock(group: string, topic: string, queues: readonly Queue[], client: string): Promise<void> {
    await this.#cluster.ask(queues[0]!.broker, request.unlock, {}, `group '${group}'`, lockBody(group, topic, queues, client))
  }

  /** The clients of the group that read the topic, ours and others'. */
  async members(group: string, { topic, brokers }: Pick<Route, 'topic' | 'brokers'>): Promise<string[]> {
    return (await this.clients(group, brokers)).filter((client) => reads(client, topic))
  }

  /** All of them, in the order of their names: what those brokers say that answer. @throws BusError `engine_unavailable` when none does */
  async clients(group: string, brokers: readonly Broker[]): Promise<string[]> {
    const asked = await Promise.allSettled(
      brokers.map((broker) => this.#cluster.askAny(broker, request.members, { consumerGroup: group }, `group '${group}'`)),
    )
    const answers = asked.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    const failed = asked.find((one) => one.status === 'rejected')
    if (answers.length === 0 && failed) throw failed.reason
    const found = new Set<string>()
    for (const { code, body } of answers) {
      if (code !== answer.ok) continue
      const { consumerIdList } = looseJson(body) as { consumerIdList?: unknown[] }
      for (const client of consumerIdList ?? []) if (typeof client === 'string') found.add(client)
    }
    return [...found].sort()
  }

  /** The groups that stand somewhere in the topic. */
  async on({ topic, brokers }: Pick<Route, 'topic' | 'brokers'>): Promise<string[]> {
    return this.#listed(brokers, request.groupsOf, { topic }, 'groupList', `topic '${topic}'`)
  }

  /** The topics that the group stands in. */
  async topicsOf(group: string, brokers: readonly Broker[]): Promise<string[]> {
    return this.#listed(brokers, request.topicsOfGroup, { group }, 'topicList', `group '${group}'`)
  }

  async #listed(brokers: readonly Broker[], code: number, fields: Record<string, string>, list: string, what: string): Promise<string[]> {
    const found = new Set<string>()
    for (const broker of brokers) {
      const frame = await this.#cluster.askAny(broker, code, fields, what)
      if (frame.code === answer.noTopic || frame.code === answer.noGroup || frame.body.length === 0) continue
      if (frame.code !== answer.ok) throw refused(frame, what)
      const names = (looseJson(frame.body) as Record<string, unknown>)[list]
      if (Array.isArray(names)) for (const name of names) if (typeof name === 'string') found.add(name)
    }
    return [...found]
  }

  /** `topics`: those that it stands in. */
  async delete(group: string, brokers: readonly Broker[], topics: readonly string[]): Promise<void> {
    for (const broker of brokers)
      await this.#cluster.ask(broker, request.deleteGroup, { groupName: group, cleanOffset: 'true' }, `group '${group}'`)
    for (const topic of topics) await this.#begun.forget(begunKey(group, topic))
  }
}

const begunKey = (group: string, topic: string): string => `${group}@${topic}`

function lockBody(group: string, topic: string, queues: readonly Queue[], client: string): Buffer {
  const mqSet = queues.map(({ broker, id }) => ({ topic, brokerName: broker.name, queueId: id }))
  return Buffer.from(JSON.stringify({ consumerGroup: group, clientId: client, onlyThisBroker: false, mqSet }))
}

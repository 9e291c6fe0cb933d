import { BusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { type Connection, Pool } from './connection.ts'
import { Dispatch } from './dispatch.ts'
import { refused, unavailable } from './failure.ts'
import type { RocketmqOptions } from './options.ts'
import { answer, type Fields, type Frame, looseJson, request } from './protocol.ts'
import { parseAddress } from './url.ts'

/** A master, and what it has of a topic. */
export interface Broker {
  readonly name: string
  readonly address: Address
  readonly readQueues: number
  readonly writeQueues: number
}

export interface Queue {
  readonly broker: Broker
  readonly id: number
}

export interface Route {
  readonly topic: string
  /** In the order of their names. */
  readonly brokers: readonly Broker[]
  /** Those that may be written, in the order of brokers: what a key is hashed over. */
  readonly writable: readonly Queue[]
  readonly readable: readonly Queue[]
  readonly at: number
}

/** Name servers and brokers: who has what, and the way to ask them. */
export class Cluster {
  readonly options: RocketmqOptions
  /** For sending and asking; members have their own. */
  readonly pool: Pool
  readonly dispatch: Dispatch
  readonly #nameServers: readonly Address[]
  readonly #routes = new Map<string, Route>()
  readonly #asking = new Map<string, Promise<Route | undefined>>()
  readonly #routeMs: number
  /** The name server that answered last. */
  #turn = 0

  constructor(nameServers: readonly Address[], options: RocketmqOptions) {
    this.#nameServers = nameServers
    this.options = options
    this.pool = new Pool(options)
    this.dispatch = new Dispatch(this)
    this.#routeMs = options.routeMs ?? 10_000
  }

  get nameServers(): string {
    return this.#nameServers.map(addressText).join(', ')
  }

  /** Another pool to the same brokers. */
  newPool(): Pool {
    return new Pool(this.options)
  }

  // ── name servers ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** The first that answers. @throws BusError `engine_unavailable` when none does */
  async askNames(code: number, fields: Fields, what: string): Promise<Frame> {
    let failure: unknown
    for (let tried = 0; tried < this.#nameServers.length; tried++) {
      const turn = (this.#turn + tried) % this.#nameServers.length
      try {
        const connection = await this.pool.to(this.#nameServers[turn]!)
        const frame = await connection.ask(code, fields, what)
        this.#turn = turn
        return frame
      } catch (error) {
        failure = error
      }
    }
    const error = unavailable(failure)
    throw error.code === 'engine_unavailable'
      ? new BusError('engine_unavailable', `no name server answers (${this.nameServers}): ${error.message}`, { cause: error })
      : error
  }

  /** Each name server keeps its own notes. */
  async tellNames(code: number, fields: Fields, what: string): Promise<void> {
    await Promise.all(
      this.#nameServers.map(async (address) => {
        const frame = await (await this.pool.to(address)).ask(code, fields, what)
        if (frame.code !== answer.ok) throw refused(frame, what)
      }),
    )
  }

  /** A note that the name servers keep; undefined where there is none. @throws BusError `engine_unavailable` when none answers */
  async note(namespace: string, key: string, what: string): Promise<string | undefined> {
    const frame = await this.askNames(request.note, { namespace, key }, what)
    if (frame.code === answer.noNotes) return undefined
    if (frame.code !== answer.ok) throw refused(frame, what)
    return frame.fields['value']
  }

  async putNote(namespace: string, key: string, value: string, what: string): Promise<void> {
    await this.tellNames(request.putNote, { namespace, key, value }, what)
  }

  /** Every master that is known. @throws BusError `engine_unavailable` also where there is none */
  async masters(): Promise<Broker[]> {
    const frame = await this.askNames(request.clusterInfo, {}, 'the brokers')
    if (frame.code === answer.unknownRequest)
      throw new BusError(
        'invalid_argument',
        `${this.nameServers} is no name server: give the address of one (port 9876), not of a broker (10911); brokers are found by it`,
      )
    if (frame.code !== answer.ok) throw refused(frame, 'the brokers')
    const { brokerAddrTable } = looseJson(frame.body) as { brokerAddrTable?: Record<string, { brokerAddrs?: Record<string, unknown> }> }
    const found = Object.entries(brokerAddrTable ?? {}).flatMap(([name, one]) => brokerOf(name, one?.brokerAddrs, 0, 0) ?? [])
    if (found.length === 0) throw new BusError('engine_unavailable', `the name servers (${this.nameServers}) know of no broker`)
    return found.sort(byName)
  }

  /** What is known and not too old; else the name servers are asked. Undefined where they know no such topic. */
  async route(topic: string): Promise<Route | undefined> {
    const known = this.#routes.get(topic)
    if (known && performance.now() - known.at < this.#routeMs) return known
    try {
      return await this.freshRoute(topic)
    } catch (error) {
      if (known && unavailable(error).code === 'engine_unavailable') return known
      throw error
    }
  }

  /** At once, where it is known; one that is old is asked for anew behind it. */
  knownRoute(topic: string): Route | undefined {
    const known = this.#routes.get(topic)
    if (known && performance.now() - known.at >= this.#routeMs) this.freshRoute(topic).catch(() => {})
    return known
  }

  forgetRoute(topic: string): void {
    this.#routes.delete(topic)
  }

  freshRoute(topic: string): Promise<Route | undefined> {
    const asking = this.#asking.get(topic)
    if (asking) return asking
    const asked = this.#askRoute(topic).finally(() => this.#asking.delete(topic))
    this.#asking.set(topic, asked)
    return asked
  }

  async #askRoute(topic: string): Promise<Route | undefined> {
    const frame = await this.askNames(request.route, { topic, acceptStandardJsonOnly: 'true' }, `topic '${topic}'`)
    if (frame.code === answer.noTopic) {
      this.#routes.delete(topic)
      return undefined
    }
    if (frame.code !== answer.ok) throw refused(frame, `topic '${topic}'`)
    const { brokerDatas, queueDatas } = looseJson(frame.body) as {
      brokerDatas?: { brokerName: string; brokerAddrs?: Record<string, unknown> }[]
      queueDatas?: { brokerName: string; readQueueNums: number; writeQueueNums: number; perm: number }[]
    }
    const brokers = (queueDatas ?? []).flatMap(({ brokerName, readQueueNums, writeQueueNums, perm }) => {
      const addresses = brokerDatas?.find((one) => one.brokerName === brokerName)?.brokerAddrs
      return brokerOf(String(brokerName), addresses, perm & 4 ? Number(readQueueNums) : 0, perm & 2 ? Number(writeQueueNums) : 0) ?? []
    })
    brokers.sort(byName)
    const queues = (count: (broker: Broker) => number): Queue[] =>
      brokers.flatMap((broker) => Array.from({ length: count(broker) }, (_, id) => ({ broker, id })))
    const route = {
      topic,
      brokers,
      writable: queues((one) => one.writeQueues),
      readable: queues((one) => one.readQueues),
      at: performance.now(),
    }
    this.#routes.set(topic, route)
    return route
  }

  // ── brokers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @throws BusError what the broker says of it; `engine_unavailable` where no answer came */
  async ask(broker: Pick<Broker, 'address'>, code: number, fields: Fields, what: string, body?: Buffer): Promise<Frame> {
    const frame = await this.askAny(broker, code, fields, what, body)
    if (frame.code !== answer.ok) throw refused(frame, what)
    return frame
  }

  /** Whatever the answer is. @throws BusError `engine_unavailable` where none came */
  async askAny({ address }: Pick<Broker, 'address'>, code: number, fields: Fields, what: string, body?: Buffer): Promise<Frame> {
    try {
      return await (await this.pool.to(address)).ask(code, fields, what, body)
    } catch (error) {
      throw unavailable(error)
    }
  }

  connection(broker: Broker): Promise<Connection> {
    return this.pool.to(broker.address)
  }

  close(): void {
    this.pool.close()
  }
}

const byName = (a: Broker, b: Broker): number => (a.name < b.name ? -1 : 1)

function brokerOf(
  name: string,
  addresses: Record<string, unknown> | undefined,
  readQueues: number,
  writeQueues: number,
): Broker | undefined {
  const address = parseAddress(String(addresses?.['0'] ?? ''))
  if (address === undefined || !(readQueues >= 0 && readQueues <= 4096) || !(writeQueues >= 0 && writeQueues <= 4096)) return undefined
  return { name, address, readQueues, writeQueues }
}

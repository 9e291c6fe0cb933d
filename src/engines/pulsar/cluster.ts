import { BusError } from '../../errors.ts'
import type { Connection, Door, Pool } from './connection.ts'
import { refused } from './failure.ts'
import type { PulsarOptions } from './options.ts'
import { type Fields, numberOf } from './protocol.ts'
import { parseAddress, type Target } from './url.ts'

const mostRedirects = 20
const redirect = 0
const failed = 2

/** Who serves what: any broker answers for all of them. */
export class Cluster {
  readonly options: PulsarOptions
  readonly namespace: string
  readonly #target: Target
  readonly #pool: Pool
  #turn = 0

  constructor(target: Target, options: PulsarOptions, pool: Pool) {
    this.#target = target
    this.options = options
    this.namespace = options.namespace ?? 'public/default'
    this.#pool = pool
  }

  get closed(): boolean {
    return this.#pool.closed
  }

  /** The name of a topic as brokers take it. */
  fullName(topic: string): string {
    return `persistent://${this.namespace}/${topic}`
  }

  /** To any of them, the next one where one cannot be reached. @throws BusError `engine_unavailable`, `unauthorized` */
  async any(): Promise<Connection> {
    const { addresses, secure } = this.#target
    let last: unknown
    for (let tried = 0; tried < addresses.length; tried++) {
      try {
        return await this.#pool.to({ address: addresses[this.#turn % addresses.length]!, secure })
      } catch (error) {
        this.#turn++
        last = error
      }
    }
    throw last
  }

  /** Resolves once any of them answers a question: whose topic it is, which makes none. @throws BusError `engine_unavailable`, `unauthorized` */
  async answers(): Promise<void> {
    const lookup = { topic: this.fullName('cozebus-health'), authoritative: false }
    await (await this.any()).ask('lookup', lookup, 'the brokers')
  }

  /** How many partitions a topic has; 0: it is none of partitions, or not there yet. */
  async partitions(topic: string): Promise<number> {
    const what = `topic '${topic}'`
    const answer = await (await this.any()).ask('partitions', { topic: this.fullName(topic) }, what)
    return Object.hasOwn(answer, 'partitions') ? (answer['partitions'] as number) : 0
  }

  /** The broker that serves a topic, or one partition of it; a broker makes it where it is missing and may be made. */
  async serving(topic: string): Promise<Connection> {
    const what = `topic '${topic}'`
    let connection = await this.any()
    let authoritative = false
    for (let hops = 0; hops < mostRedirects; hops++) {
      const answer = await connection.ask('lookup', { topic: this.fullName(topic), authoritative }, what)
      if (answer['response'] === failed) throw refused(numberOf(answer['error'] ?? 0), String(answer['message'] ?? ''), what)
      const door = this.#doorOf(answer, what)
      connection = await this.#pool.to(door)
      if (answer['response'] !== redirect) return connection
      authoritative = answer['authoritative'] === true
    }
    throw new BusError('engine_unavailable', `${what}: the brokers send from one to the other`)
  }

  #doorOf(answer: Fields, what: string): Door {
    const { secure } = this.#target
    const url = String(answer[secure ? 'brokerServiceUrlTls' : 'brokerServiceUrl'] ?? '')
    const [, host = ''] = /^pulsar(?:\+ssl)?:\/\/([^/]+)/i.exec(url) ?? []
    const address = parseAddress(host, secure ? 6651 : 6650)
    if (!address)
      throw new BusError('engine_unavailable', `${what}: its broker has no address for ${secure ? 'TLS' : 'connections without TLS'}`)
    if (answer['proxy_through_service_url'] === true) {
      const { addresses } = this.#target
      return { address: addresses[this.#turn % addresses.length]!, secure, behind: host }
    }
    return { address, secure }
  }

  /** Names of topics of the namespace, each partition by itself. */
  async topics(): Promise<string[]> {
    const answer = await (await this.any()).ask('topicsOf', { namespace: this.namespace, mode: 0 }, 'the topics')
    const prefix = `persistent://${this.namespace}/`
    return ((answer['topics'] as string[] | undefined) ?? [])
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
  }

  close(): void {
    this.#pool.close()
  }
}

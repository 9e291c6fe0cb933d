import { BusError, toBusError } from '../../errors.ts'
import { type Address, addressText } from '../address.ts'
import { askHttp, baseOf } from './http.ts'
import type { NsqOptions } from './options.ts'

/** An nsqd as nsqlookupd knows it. */
export interface Producer {
  readonly address: Address
  /** `host:port` of its HTTP side. */
  readonly http: string
}

interface Registration {
  readonly broadcast_address: string
  readonly tcp_port: number
  readonly http_port: number
}

/** The nsqlookupds: what one of them knows is known, and one that is away is no trouble while another answers. */
export class Lookup {
  readonly #addresses: readonly string[]
  readonly #options: NsqOptions

  constructor(addresses: readonly Address[], options: NsqOptions) {
    this.#addresses = addresses.map((address) => baseOf(addressText(address)))
    this.#options = options
  }

  /** @throws BusError `engine_unavailable` when none answers, `invalid_argument` where it is an nsqd that does */
  nodes(): Promise<Producer[]> {
    return this.#producers('/nodes')
  }

  /** Those that have the topic; none for one that nobody knows. */
  producersOf(topic: string): Promise<Producer[]> {
    return this.#producers(`/lookup?topic=${encodeURIComponent(topic)}`)
  }

  /** What those say that do not answer. */
  async silent(): Promise<string[]> {
    const results = await Promise.allSettled(this.#addresses.map((base) => askHttp(base, 'GET', '/ping', this.#options.tls)))
    return results.flatMap((result) => (result.status === 'rejected' ? [toBusError(result.reason).message] : []))
  }

  async topics(): Promise<string[]> {
    const lists = (await this.#all('GET', '/topics')) as { topics?: string[] }[]
    return [...new Set(lists.flatMap(({ topics }) => topics ?? []))]
  }

  /** Registers a topic and a channel of it: an nsqd that makes the topic one day makes the channel with it, before the first message. */
  async register(topic: string, channel: string): Promise<void> {
    const query = `topic=${encodeURIComponent(topic)}`
    await this.#all('POST', `/topic/create?${query}`)
    await this.#all('POST', `/channel/create?${query}&channel=${encodeURIComponent(channel)}`)
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#all('POST', `/topic/delete?topic=${encodeURIComponent(topic)}`)
  }

  async deleteChannel(topic: string, channel: string): Promise<void> {
    await this.#all('POST', `/channel/delete?topic=${encodeURIComponent(topic)}&channel=${encodeURIComponent(channel)}`)
  }

  async #producers(path: string): Promise<Producer[]> {
    const found = new Map<string, Producer>()
    for (const { producers } of (await this.#all('GET', path)) as { producers?: Registration[] }[])
      for (const { broadcast_address: host, tcp_port: port, http_port } of producers ?? []) {
        const address = { host, port }
        found.set(addressText(address), { address, http: addressText({ host, port: http_port }) })
      }
    return [...found.values()]
  }

  /** What those that answer say; nothing of one that knows no such thing. */
  async #all(method: 'GET' | 'POST', path: string): Promise<unknown[]> {
    const results = await Promise.allSettled(this.#addresses.map((base) => askHttp(base, method, path, this.#options.tls)))
    const answers: unknown[] = []
    let failure: unknown
    let heard = false
    for (const result of results) {
      if (result.status === 'fulfilled') answers.push(result.value ?? {})
      else if (result.reason instanceof BusError && result.reason.code === 'not_found') heard = true
      else failure ??= result.reason
    }
    if (answers.length > 0 || heard) return answers
    const why = failure instanceof Error ? failure.message : String(failure)
    // Its HTTP side answers to nothing of this.
    if (/answered 404/.test(why))
      throw new BusError('invalid_argument', `${why}: that is no nsqlookupd; for an nsqd write nsq:// and its TCP port`)
    if (/Parse Error|socket hang up/.test(why))
      throw new BusError('invalid_argument', `${why}: that is no HTTP port; nsq+lookup:// wants the one of nsqlookupd (4161)`)
    throw new BusError('engine_unavailable', `no nsqlookupd answers: ${why}`, { cause: failure })
  }
}

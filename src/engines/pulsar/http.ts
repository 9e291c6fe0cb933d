import { Agent } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import { BusError } from '../../errors.ts'
import { callHttp, type HttpAnswer, parseAnswer } from '../http.ts'
import type { PulsarOptions } from './options.ts'
import { tokenOf } from './token.ts'

const timeoutMs = 10_000
const mostHops = 5
/** Of a namespace of thousands of topics each is asked about by itself. */
const mostAtOnce = 16

/** The brokers' HTTP interface: https://pulsar.apache.org/admin-rest-api/ */
export class Http {
  readonly #base: URL
  readonly #options: PulsarOptions
  readonly #agent: Agent

  constructor(base: string, options: PulsarOptions) {
    this.#base = new URL(base)
    this.#options = options
    this.#agent = new (this.#base.protocol === 'https:' ? SecureAgent : Agent)({ maxSockets: mostAtOnce })
  }

  /** @throws BusError `engine_unavailable`, `not_found`, `conflict`, `unauthorized`, `forbidden` */
  async ask(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<unknown> {
    let url = new URL(path, this.#base)
    for (let hops = 0; ; hops++) {
      const { status, text, location } = await this.#once(url, method, body)
      // Another broker has it. The query goes with it: by that the one who is asked knows that it is meant.
      if (status === 307 && location !== undefined && hops < mostHops) {
        url = new URL(location, url)
        continue
      }
      if (status >= 200 && status < 300) return parseAnswer(text)
      throw refusal(status, text, path)
    }
  }

  async #once(url: URL, method: string, body: unknown): Promise<HttpAnswer> {
    const { tls } = this.#options
    const agent = url.protocol === this.#base.protocol ? this.#agent : undefined
    const bearer = await tokenOf(this.#options)
    const headers: Record<string, string> = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }
    return callHttp(url.href, { method, body, headers, tls, tlsPrefix: 'pulsar.tls', timeoutMs, agent }).catch((error: Error) => {
      if (error instanceof BusError) throw error
      const why = `Pulsar's HTTP interface at ${url.origin} cannot be reached (pulsar.admin): ${error.message}`
      throw new BusError('engine_unavailable', why, { cause: error })
    })
  }
}

function refusal(status: number, text: string, path: string): BusError {
  const { reason = text } = (parseAnswer(text) ?? {}) as { reason?: string }
  const what = `${path.replace(/^\/admin\/v2\//, '')}: ${String(reason).split('\n', 1)[0]!.slice(0, 200)} (Pulsar, HTTP ${status})`
  if (status === 401) return new BusError('unauthorized', what)
  if (status === 403) return new BusError('forbidden', what)
  if (status === 404) return new BusError('not_found', what)
  if (status === 409 || status === 412) return new BusError('conflict', what)
  return new BusError('engine_unavailable', what)
}

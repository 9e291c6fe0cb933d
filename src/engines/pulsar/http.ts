import { request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'
import { BusError } from '../../errors.ts'
import { readPems } from '../pem.ts'
import type { PulsarOptions } from './options.ts'

const timeoutMs = 10_000

/** The brokers' HTTP interface: https://pulsar.apache.org/admin-rest-api/ */
export class Http {
  readonly #base: URL
  readonly #options: PulsarOptions

  constructor(base: string, options: PulsarOptions) {
    this.#base = new URL(base)
    this.#options = options
  }

  /** @throws BusError `engine_unavailable`, `not_found`, `conflict`, `unauthorized`, `forbidden` */
  async ask(method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<unknown> {
    let { base, hops } = { base: this.#base, hops: 0 }
    for (;;) {
      const { status, text, location } = await this.#once(base, method, path, body)
      // Another broker has it.
      if (status === 307 && location !== undefined && hops++ < 5) {
        const there = new URL(location)
        base = new URL(there.origin)
        continue
      }
      if (status >= 200 && status < 300) return parse(text)
      throw refusal(status, text, path)
    }
  }

  #once(base: URL, method: string, path: string, body: unknown): Promise<{ status: number; text: string; location: string | undefined }> {
    const { token, tls } = this.#options
    const bearer = typeof token === 'function' ? token() : token
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const secure = base.protocol === 'https:'
    return new Promise((resolve, reject) => {
      const asked = (secure ? tlsRequest : plainRequest)(
        new URL(path, base),
        {
          method,
          timeout: timeoutMs,
          ...(secure && tls ? readPems(tls, 'pulsar.tls') : {}),
          headers: {
            ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
            ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }),
          },
        },
        (answer) => {
          let text = ''
          answer
            .setEncoding('utf8')
            .on('data', (part: string) => {
              text += part
            })
            .on('end', () => resolve({ status: answer.statusCode ?? 0, text, location: answer.headers.location }))
            .on('error', fail)
        },
      )
      const fail = (error: Error): void =>
        reject(
          new BusError(
            'engine_unavailable',
            `Pulsar's HTTP interface at ${base.origin} cannot be reached (pulsar.admin): ${error.message}`,
            { cause: error },
          ),
        )
      asked.on('timeout', () => asked.destroy(new Error(`no answer within ${timeoutMs} ms`)))
      asked.on('error', fail)
      asked.end(bytes)
    })
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return text
  }
}

function refusal(status: number, text: string, path: string): BusError {
  const { reason = text } = (parse(text) ?? {}) as { reason?: string }
  const what = `${path.replace(/^\/admin\/v2\//, '')}: ${String(reason).split('\n', 1)[0]!.slice(0, 200)} (Pulsar, HTTP ${status})`
  if (status === 401) return new BusError('unauthorized', what)
  if (status === 403) return new BusError('forbidden', what)
  if (status === 404) return new BusError('not_found', what)
  if (status === 409 || status === 412) return new BusError('conflict', what)
  return new BusError('engine_unavailable', what)
}

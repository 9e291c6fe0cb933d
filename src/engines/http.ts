import { type Agent, type IncomingMessage, request as requestHttp } from 'node:http'
import { type RequestOptions, request as requestHttps } from 'node:https'
import { checkServerIdentity } from 'node:tls'
import { type Pems, readPems } from './pem.ts'
import { serverNameOf } from './tls.ts'

const mostBytes = 64 * 1024 * 1024

export interface HttpCall {
  readonly method: string
  /** As JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** For https: {@link readPems}; and whom the certificate is for, where that is not the host. */
  readonly tls?: (Pems & { readonly serverName?: string }) | undefined
  readonly tlsPrefix: string
  readonly timeoutMs: number
  /** Says how many go at once. Default: each by itself. */
  readonly agent?: Agent | undefined
}

export interface HttpAnswer {
  readonly status: number
  readonly text: string
  /** Where it is to be asked instead. */
  readonly location: string | undefined
}

/** Asks the HTTP side of a broker, whatever it answers; rejects where it does not, or with more than 64 MiB. */
export function callHttp(url: string, { method, body, headers, tls, tlsPrefix, timeoutMs, agent }: HttpCall): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const secure = url.startsWith('https:')
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const take = (answer: IncomingMessage): void => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (piece: string) => {
        text += piece
        if (text.length > mostBytes) answer.destroy(new Error(`more than ${mostBytes} bytes came`))
      })
      answer.on('error', reject)
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text, location: answer.headers.location }))
    }
    const options = {
      method,
      timeout: timeoutMs,
      agent: agent ?? (false as const),
      headers: { ...headers, ...(bytes && { 'content-type': 'application/json', 'content-length': bytes.length }) },
      ...(secure && tls ? readPems(tls, tlsPrefix) : {}),
      ...(secure && tls?.serverName !== undefined ? certificateFor(tls.serverName) : {}),
    }
    const asked = secure ? requestHttps(url, options, take) : requestHttp(url, options, take)
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${timeoutMs} ms`)))
    asked.on('error', reject)
    asked.end(bytes)
  })
}

/** Node would compare with the host that it connects to. */
function certificateFor(name: string): Pick<RequestOptions, 'servername' | 'checkServerIdentity'> {
  return { ...serverNameOf(name), checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate) }
}

/** Its JSON; the text itself where it is none, and undefined for nothing at all. */
export function parseAnswer(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text)
  } catch {
    return text
  }
}

import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BusError } from '../../errors.ts'
import { readPems } from '../pem.ts'
import type { NsqTls } from './options.ts'

const usualTimeoutMs = 5000
const mostBytes = 64 * 1024 * 1024

/** `host:4151` or a URL, as a URL without a slash at its end. */
export function baseOf(address: string): string {
  return (/^https?:\/\//i.test(address) ? address : `http://${address}`).replace(/\/+$/, '')
}

/**
 * Asks the HTTP side of nsqd or nsqlookupd.
 * @throws BusError `not_found` for what they say of a topic or channel, `engine_unavailable`
 */
export async function askHttp(
  base: string,
  method: 'GET' | 'POST',
  path: string,
  tls: NsqTls | undefined,
  timeoutMs = usualTimeoutMs,
): Promise<unknown> {
  const { status, text } = await call(`${base}${path}`, method, tls, timeoutMs)
  let body: unknown = text
  try {
    body = text === '' ? undefined : JSON.parse(text)
  } catch {
    // Some answers are plain text.
  }
  if (status >= 200 && status < 300) return body
  const said = (body as { message?: string } | undefined)?.message ?? text.slice(0, 100)
  if (/^(TOPIC|CHANNEL)_NOT_FOUND$/.test(said)) throw new BusError('not_found', `${base}${path}: ${said}`)
  throw new BusError('engine_unavailable', `${base}${path} answered ${status} ${said}`)
}

function call(url: string, method: string, tls: NsqTls | undefined, timeoutMs: number): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(new BusError('engine_unavailable', `${url} cannot be reached: ${error.message}`, { cause: error }))
    const secure = url.startsWith('https:')
    const take = (answer: IncomingMessage): void => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (piece: string) => {
        text += piece
        if (text.length > mostBytes) answer.destroy(new Error(`more than ${mostBytes} bytes came`))
      })
      answer.on('error', fail)
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
    }
    const options = { method, timeout: timeoutMs, agent: false as const, ...(secure && tls ? readPems(tls, 'nsq.tls') : {}) }
    const asked = secure ? requestHttps(url, options, take) : requestHttp(url, options, take)
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${timeoutMs} ms`)))
    asked.on('error', fail)
    asked.end()
  })
}

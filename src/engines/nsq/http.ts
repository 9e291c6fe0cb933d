import { BusError } from '../../errors.ts'
import { callHttp, parseAnswer } from '../http.ts'
import type { NsqTls } from './options.ts'

const usualTimeoutMs = 5000

/** `host:4151` or a URL, as a URL without a slash at its end. */
export function baseOf(address: string): string {
  return (/^https?:\/\//i.test(address) ? address : `http://${address}`).replace(/\/+$/, '')
}

/** As errors show it: without the name and password that may stand before the @. */
const shown = (url: string): string => url.replace(/^(https?:\/\/)[^/]*@/i, '$1')

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
  const url = `${base}${path}`
  const { status, text } = await callHttp(url, { method, tls, tlsPrefix: 'nsq.tls', timeoutMs }).catch((error: Error) => {
    throw error instanceof BusError
      ? error
      : new BusError('engine_unavailable', `${shown(url)} cannot be reached: ${error.message}`, { cause: error })
  })
  const body = parseAnswer(text)
  if (status >= 200 && status < 300) return body
  const said = (body as { message?: string } | undefined)?.message ?? text.slice(0, 100)
  if (/^(TOPIC|CHANNEL)_NOT_FOUND$/.test(said)) throw new BusError('not_found', `${shown(url)}: ${said}`)
  throw new BusError('engine_unavailable', `${shown(url)} answered ${status} ${said}`)
}

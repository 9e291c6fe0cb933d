import { createHash, timingSafeEqual } from 'node:crypto'
import type { MiddlewareHandler } from 'hono'
import { BusError } from '../errors.ts'
import { problem } from './problem.ts'

export interface GuardOptions {
  /** Asked of every call but the open ones. */
  readonly token?: string | undefined
  /** Web pages of these origins may call; no other page may. */
  readonly origins?: readonly string[]
}

/**
 * Who may call. Without a token the listener is on loopback, where any page in a browser of this machine could call too:
 * so the name asked for must be a loopback one (a page that points its own name here is refused), and a page of another
 * origin is refused. With a token a page has nothing to send.
 */
export function guard({ token, origins = [] }: GuardOptions, isOpen: (path: string) => boolean): MiddlewareHandler {
  return async (c, next) => {
    if (isOpen(c.req.path)) return next()
    const { hostname, host } = new URL(c.req.url)
    if (token === undefined && !isLoopback(hostname))
      return problem(
        new BusError('forbidden', `'${hostname}' is not a name of this machine's loopback; call 127.0.0.1 or localhost, or set a token`),
      )
    const origin = c.req.header('origin')
    const foreign = origin === undefined ? isCrossSite(c.req.header('sec-fetch-site')) : !sameHost(origin, host)
    if (foreign && !(origin !== undefined && origins.includes(origin)))
      return problem(new BusError('forbidden', 'a page of another origin may not call; name its origin by --allow-origin'))
    // A browser asks whether it may, without the token.
    if (token === undefined || c.req.method === 'OPTIONS' || authorized(c.req.header('authorization'), token)) return next()
    const refused = problem(new BusError('unauthorized', 'send the header Authorization: Bearer <token>'))
    refused.headers.set('www-authenticate', 'Bearer')
    return refused
  }
}

/** Whether only this machine can reach the address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
}

function isCrossSite(site: string | undefined): boolean {
  return site === 'cross-site' || site === 'same-site'
}

function sameHost(origin: string, host: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === host
}

/** Compares digests: equal length, and a time that tells nothing. */
function authorized(header: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const given = /^bearer +(.+)$/i.exec(header ?? '')?.[1]
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

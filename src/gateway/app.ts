import { createHash, timingSafeEqual } from 'node:crypto'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { Bridges } from './bridges.ts'
import { Counters } from './counters.ts'
import { type Logger, silent } from './logger.ts'
import { problem } from './problem.ts'
import type { Scope } from './route.ts'
import { routes } from './routes.ts'

export interface GatewayOptions {
  /** Asked of every call but the health endpoints. */
  readonly token?: string | undefined
  /** The largest request, bytes. Default 8 MiB. */
  readonly maxBodyBytes?: number
  readonly logger?: Logger
}

export type Gateway = Hono & {
  /** Ends streams and long polls, and gives back what was pulled and not settled. Close the bus after it. */
  close(): Promise<void>
}

/** The bus over HTTP. A fetch handler: mount it anywhere, test it without a port. */
export function createGateway(bus: Bus, options: GatewayOptions = {}): Gateway {
  const app = new Hono()
  const logger = options.logger ?? silent
  const maxSize = options.maxBodyBytes ?? 8 * 1024 * 1024
  const stop = new AbortController()
  const scope: Scope = { bus, bridges: new Bridges(bus), counters: new Counters(), stopping: stop.signal }
  const open = new Set(routes.filter((route) => route.open).map(({ path }) => path))
  app.use(async (c, next) => {
    const begun = performance.now()
    await next()
    const { status } = c.res
    const ms = Math.round((performance.now() - begun) * 10) / 10
    logger.log(status >= 500 ? 'error' : 'debug', 'request', { method: c.req.method, path: c.req.path, status, ms })
  })
  // Before the body is read: a caller without the token may not make us hold one.
  app.use(async (c, next) => {
    if (options.token === undefined || open.has(c.req.path) || authorized(c.req.header('authorization'), options.token)) return next()
    const refused = problem(new BusError('unauthorized', 'send the header Authorization: Bearer <token>'))
    refused.headers.set('www-authenticate', 'Bearer')
    return refused
  })
  app.use(bodyLimit({ maxSize, onError: () => problem(new BusError('message_too_large', `the request is larger than ${maxSize} bytes`)) }))
  for (const route of routes) app.on(route.method, route.path.replaceAll('{', ':').replaceAll('}', ''), async (c) => route.handle(scope, c))
  app.notFound((c) =>
    problem(new BusError('not_found', `there is no ${c.req.method} ${c.req.path}; GET /openapi.json lists what there is`)),
  )
  app.onError((error, c) => {
    if (!(error instanceof BusError)) logger.log('error', 'unexpected', { path: c.req.path, error: error.stack ?? String(error) })
    return problem(error)
  })
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    stop.abort()
    await scope.bridges.close()
    scope.counters.close()
  }
  return Object.assign(app, {
    close: () => {
      closing ??= close()
      return closing
    },
  })
}

/** Compares digests: equal length, and a time that tells nothing. */
function authorized(header: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return header !== undefined && timingSafeEqual(digest(header.replace(/^bearer +/i, '')), digest(token))
}

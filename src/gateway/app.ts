import { Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { cors } from 'hono/cors'
import { StoredTopics } from '../admin/stored-topics.ts'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { Bridges } from './bridges.ts'
import { Counters } from './counters.ts'
import { type GuardOptions, guard } from './guard.ts'
import { type Logger, silent } from './logger.ts'
import { problem } from './problem.ts'
import type { Scope } from './route.ts'
import { routes } from './routes.ts'

export interface GatewayOptions extends GuardOptions {
  /** The largest request, bytes. Default 8 MiB. */
  readonly maxBodyBytes?: number
  readonly logger?: Logger
  /** How often a quiet stream of events says that it is still there, ms. Default 15 000. */
  readonly heartbeatMs?: number
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
  const stored = new StoredTopics(bus.admin)
  const counters = new Counters(logger)
  const scope: Scope = {
    bus,
    stored,
    bridges: new Bridges(bus, stored),
    counters,
    heartbeatMs: options.heartbeatMs ?? 15_000,
    stopping: stop.signal,
  }
  const open = new Set(routes.filter((route) => route.open).map(({ path }) => path))
  app.use(async (c, next) => {
    const begun = performance.now()
    await next()
    const { status } = c.res
    const ms = Math.round((performance.now() - begun) * 10) / 10
    logger.log(status >= 500 ? 'error' : 'debug', 'request', { method: c.req.method, path: c.req.path, status, ms })
  })
  // Before the body is read: a caller who may not call may not make us hold one either.
  app.use(guard(options, (path) => open.has(path)))
  app.use(refuseUnreadable)
  const { origins = [] } = options
  if (origins.length > 0) app.use(cors({ origin: [...origins], allowHeaders: allowed, exposeHeaders: ['www-authenticate'] }))
  app.use(bodyLimit({ maxSize, onError: () => problem(new BusError('message_too_large', `the request is larger than ${maxSize} bytes`)) }))
  const methods = new Map<string, string[]>()
  for (const route of routes) {
    const path = honoPath(route.path)
    app.on(route.method, path, async (c) => route.handle(scope, c))
    methods.set(path, [...(methods.get(path) ?? []), route.method.toUpperCase()])
  }
  for (const [path, allow] of methods) {
    app.all(path, (c) => {
      const error = new BusError('invalid_argument', `${c.req.method} is not for ${c.req.path}; use ${allow.join(' or ')}`)
      return problem(error, { status: 405, headers: { allow: allow.join(', ') } })
    })
  }
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
    counters.close()
    stored.close()
  }
  return Object.assign(app, {
    close: () => {
      closing ??= close()
      return closing
    },
  })
}

/** What a page of an allowed origin may send. */
const allowed = ['authorization', 'content-type', 'last-event-id', 'cozebus-key', 'cozebus-id', 'cozebus-delay']

/** A path whose escapes are no text would be taken as it stands: `%ff` for a topic of that name. */
const refuseUnreadable: MiddlewareHandler = async (c, next) => {
  try {
    if (c.req.path.includes('%')) decodeURIComponent(c.req.path)
  } catch {
    return problem(new BusError('invalid_argument', `the path ${c.req.path} is not percent-encoded UTF-8; write a literal % as %25`))
  }
  return next()
}

function honoPath(path: string): string {
  return path.replaceAll('{', ':').replaceAll('}', '')
}

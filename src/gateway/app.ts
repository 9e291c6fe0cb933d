import { createHash, timingSafeEqual } from 'node:crypto'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import { startMetrics } from './metrics.ts'
import { openApi } from './openapi.ts'
import { problem } from './problem.ts'
import { routes } from './routes.ts'

export interface GatewayOptions {
  /** Asked of every call but the health endpoints. */
  readonly token?: string | undefined
  /** The largest request, bytes. Default 8 MiB. */
  readonly maxBodyBytes?: number
  readonly onRequest?: (method: string, path: string, status: number, ms: number) => void
}

/** The bus over HTTP. A fetch handler: mount it anywhere, test it without a port. */
export function createGateway(bus: Bus, options: GatewayOptions = {}): Hono {
  startMetrics()
  const app = new Hono()
  const maxSize = options.maxBodyBytes ?? 8 * 1024 * 1024
  app.use(async (c, next) => {
    const begun = performance.now()
    await next()
    options.onRequest?.(c.req.method, c.req.path, c.res.status, performance.now() - begun)
  })
  app.use(bodyLimit({ maxSize, onError: () => problem(new BusError('message_too_large', `the request is larger than ${maxSize} bytes`)) }))
  for (const route of routes) {
    app.on(route.method, route.path.replaceAll('{', ':').replaceAll('}', ''), async (c) => {
      if (!route.open && options.token !== undefined && !authorized(c.req.header('authorization'), options.token)) {
        const refused = problem(new BusError('unauthorized', 'send the header Authorization: Bearer <token>'))
        refused.headers.set('www-authenticate', 'Bearer')
        return refused
      }
      return route.handle(bus, c)
    })
  }
  app.get('/openapi.json', (c) => c.json(openApi(routes)))
  app.notFound((c) =>
    problem(new BusError('not_found', `there is no ${c.req.method} ${c.req.path}; GET /openapi.json lists what there is`)),
  )
  app.onError((error) => problem(error))
  return app
}

/** Compares digests: equal length, and a time that tells nothing. */
function authorized(header: string | undefined, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return header !== undefined && timingSafeEqual(digest(header), digest(`Bearer ${token}`))
}

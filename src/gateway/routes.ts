import { deadLetterRoutes } from './dead-letters.ts'
import { followRoute } from './follow.ts'
import { groupRoutes } from './groups.ts'
import { metrics } from './metrics.ts'
import { openApi } from './openapi.ts'
import { publishRoute } from './publish.ts'
import { pullRoutes } from './pull.ts'
import { ok, type Route } from './route.ts'
import { flag, object, text } from './schemas.ts'
import { topicRoutes } from './topics.ts'

/** The one table: the gateway registers these, and the document lists these. */
export const routes: readonly Route[] = [
  publishRoute,
  followRoute,
  ...topicRoutes,
  ...groupRoutes,
  ...pullRoutes,
  ...deadLetterRoutes,
  {
    method: 'get',
    path: '/healthz',
    id: 'health',
    summary: 'The process is alive',
    open: true,
    replies: ok('Alive', object({ ok: flag })),
    handle: (_scope, c) => c.json({ ok: true }),
  },
  {
    method: 'get',
    path: '/readyz',
    id: 'ready',
    summary: 'The engine answers and the gateway is not closing',
    open: true,
    replies: {
      ...ok('Ready', object({ ok: flag, engine: text, detail: text })),
      503: { description: 'Not ready', content: { 'application/json': object({ ok: flag, engine: text, detail: text }) } },
    },
    handle: async ({ bus, stopping }, c) => {
      const { ok: well, engine, detail } = await bus.health()
      const ready = well && !stopping.aborted
      return c.json({ ok: ready, engine, detail: stopping.aborted ? 'closing' : detail }, ready ? 200 : 503)
    },
  },
  {
    method: 'get',
    path: '/metrics',
    id: 'metrics',
    summary: 'Prometheus metrics',
    replies: { 200: { description: 'Text format 0.0.4', content: { 'text/plain': text } } },
    handle: async ({ bus, counters }, c) =>
      c.text(await metrics(bus, counters), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }),
  },
  {
    method: 'get',
    path: '/openapi.json',
    id: 'openapi',
    summary: 'This document',
    replies: ok('OpenAPI 3.1', { type: 'object' }),
    handle: (_scope, c) => c.json(openApi(routes)),
  },
]

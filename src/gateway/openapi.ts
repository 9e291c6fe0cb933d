import type { Route } from './route.ts'
import { problem } from './schemas.ts'

/** The OpenAPI 3.1 document of the routes that are served. */
export function openApi(routes: readonly Route[]): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    paths[route.path] ??= {}
    paths[route.path]![route.method] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'cozebus',
      version: '1',
      description: 'The bus over HTTP: publish, follow, work for a group, look into topics, groups and dead letters.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    // A token where the server has one; none on loopback without.
    security: [{ bearer: [] }, {}],
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: problem },
    },
  }
}

function operation(route: Route): object {
  const text = { type: 'string' }
  const parameters = [
    ...[...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: text })),
    ...Object.entries(route.query ?? {}).map(([name, given]) =>
      typeof given === 'string' ? { name, in: 'query', description: given, schema: text } : { name, in: 'query', schema: given },
    ),
    ...Object.entries(route.headers ?? {}).map(([name, description]) => ({ name, in: 'header', description, schema: text })),
  ]
  return {
    operationId: route.id,
    summary: route.summary,
    ...(route.description ? { description: route.description } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(route.request ? { requestBody: { required: true, content: content(route.request) } } : {}),
    ...(route.open ? { security: [] } : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(route.replies).map(([status, reply]) => [
          status,
          { description: reply.description, ...(reply.content ? { content: content(reply.content) } : {}) },
        ]),
      ),
      default: {
        description: 'What went wrong (RFC 9457)',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  }
}

function content(schemas: Readonly<Record<string, object>>): object {
  return Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }]))
}

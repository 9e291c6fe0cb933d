import type { Route } from './routes.ts'

/** The OpenAPI 3.1 document of the routes that are served. */
export function openApi(routes: readonly Route[]): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    const names = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!)
    const parameters = [
      ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
      ...Object.entries(route.query ?? {}).map(([name, description]) => ({ name, in: 'query', description, schema: { type: 'string' } })),
    ]
    paths[route.path] ??= {}
    paths[route.path]![route.method] = {
      summary: route.summary,
      ...(parameters.length > 0 ? { parameters } : {}),
      ...(route.body ? { requestBody: { content: { 'application/json': { schema: route.body } } } } : {}),
      ...(route.open ? { security: [] } : {}),
      responses: {
        [route.status ?? 200]: { description: 'done' },
        default: {
          description: 'what went wrong',
          content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
        },
      },
    }
  }
  const text = { type: 'string' }
  return {
    openapi: '3.1.0',
    info: { title: 'cozebus', version: '1' },
    paths,
    security: [{ bearer: [] }],
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: {
        Problem: {
          type: 'object',
          properties: { type: text, title: text, status: { type: 'integer' }, detail: text, code: text, retryable: { type: 'boolean' } },
        },
      },
    },
  }
}

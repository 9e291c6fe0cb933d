import type { Context } from 'hono'
import type { StoredTopics } from '../admin/stored-topics.ts'
import type { Bus } from '../bus.ts'
import type { Bridges } from './bridges.ts'
import type { Counters } from './counters.ts'

/** What every route is given: one gateway's own things. */
export interface Scope {
  readonly bus: Bus
  readonly stored: StoredTopics
  readonly bridges: Bridges
  readonly counters: Counters
  readonly heartbeatMs: number
  /** Aborts when the gateway closes: streams and long polls end then. */
  readonly stopping: AbortSignal
}

export type Schema = Readonly<Record<string, unknown>>

export interface Reply {
  readonly description: string
  /** By media type. */
  readonly content?: Readonly<Record<string, Schema>>
}

/** One row registers the route and is its entry in the OpenAPI document, so that the two cannot drift apart. */
export interface Route {
  readonly method: 'get' | 'post' | 'delete'
  /** With `{parameters}`. */
  readonly path: string
  /** The name of the operation in generated clients; unique. */
  readonly id: string
  readonly summary: string
  readonly description?: string
  /** Answers without a token. */
  readonly open?: boolean
  /** Each parameter with what it is, or with a schema where it is no text. */
  readonly query?: Readonly<Record<string, string | Schema>>
  readonly headers?: Readonly<Record<string, string>>
  /** The request's body by media type. */
  readonly request?: Readonly<Record<string, Schema>>
  readonly replies: Readonly<Record<number, Reply>>
  readonly handle: (scope: Scope, c: Context) => Promise<Response> | Response
}

/** The usual reply. */
export function ok(description: string, schema: Schema): Readonly<Record<number, Reply>> {
  return { 200: { description, content: { 'application/json': schema } } }
}

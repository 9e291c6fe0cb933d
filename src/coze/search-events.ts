import { topic } from '../topic/definition.ts'
import { cozeCodec } from './codec.ts'
import { appTopic, resourceTopic } from './names.ts'
import { eventSchema } from './schema.ts'

export type SearchOperation = 'created' | 'updated' | 'deleted'

export interface EventMeta {
  send_time_ms: number
  receive_time_ms: number
}

/** What changed of a plugin, workflow, knowledge base, prompt or database (backend/domain/search/entity). */
export interface ResourceEvent {
  op_type: SearchOperation
  resource_document?: ResourceDocument
  meta?: EventMeta
  extra: Record<string, unknown> | null
}

export interface ResourceDocument {
  res_id: bigint
  /** 1 plugin, 2 workflow, 3 image flow, 4 knowledge, 5 UI, 6 prompt, 7 database, 8 variable, 9 voice. */
  res_type: number
  res_sub_type?: number
  name?: string
  owner_id?: bigint
  space_id?: bigint
  app_id?: bigint
  biz_status?: number
  /** 1 unpublished, 2 published. */
  publish_status?: number
  create_time?: number
  update_time?: number
  publish_time?: number
}

/** What changed of an agent or an app. */
export interface AppEvent {
  op_type: SearchOperation
  project_document?: AppDocument
  meta?: EventMeta
  extra: Record<string, unknown> | null
}

export interface AppDocument {
  id: bigint
  /** 1 agent, 2 app. */
  type: number
  /** 1 in use, 2 deleted, 3 banned, 4 could not be moved, 5 being copied, 6 could not be copied. */
  status?: number
  name?: string
  space_id?: bigint
  owner_id?: bigint
  has_published?: number
  create_time?: number
  update_time?: number
  publish_time?: number
  recently_open_time?: number
  fav_time?: number
  is_fav?: number
  is_recently_open?: number
}

/** Typed, with exact ids: subscribe to it and publish to it like to any definition. */
export const resourceEvents = topic(resourceTopic, {
  codec: cozeCodec,
  schema: eventSchema<ResourceEvent>({ op_type: 'string' }),
})
export const appEvents = topic(appTopic, { codec: cozeCodec, schema: eventSchema<AppEvent>({ op_type: 'string' }) })

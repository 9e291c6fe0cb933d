import { join } from 'node:path'
import { z } from 'zod'
import { type Bus, connect, type SubscribeOptions, topic } from '../../src/index.ts'

/** One event a file, in order for each document: an update never overtakes the upload, nor a deletion the update. */
export const documents = topic('coze.knowledge.{knowledgeId}.{operation}', {
  schema: z.object({ path: z.string() }),
  key: (document) => document.path,
})

export type Operation = 'added' | 'updated' | 'deleted'

export const group = 'indexer'

/** A file that cannot be read is tried four times within about two seconds; real jobs would wait longer, see the defaults. */
export const jobs = {
  group,
  concurrency: 4,
  lease: '10s',
  retry: { attempts: 4, initial: '300ms', factor: 2, max: '2s' },
} satisfies SubscribeOptions & { group: string }

export function openBus(store: string): Promise<Bus> {
  return connect(busUrl(store), { drain: '5s' })
}

export function busUrl(store: string): string {
  return `file:${join(store, 'bus')}`
}

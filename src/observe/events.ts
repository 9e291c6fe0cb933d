import { channel } from 'node:diagnostics_channel'
import type { Job } from '../deliver/job.ts'

/**
 * What happens inside, on `node:diagnostics_channel`: metrics, traces and logs subscribe to these. A channel nobody
 * listens to costs one check.
 */
export const channels = {
  handled: channel('cozebus:handled'),
  failed: channel('cozebus:failed'),
  deadLettered: channel('cozebus:dead-lettered'),
  published: channel('cozebus:published'),
  warning: channel('cozebus:warning'),
} as const

export class Events {
  get active(): boolean {
    return channels.handled.hasSubscribers
  }

  handled(job: Job, group: string, ms: number): void {
    channels.handled.publish({ storage: job.storage, topic: job.name, group, id: job.id, ms })
  }

  failed(job: Job, group: string, error: unknown): void {
    if (channels.failed.hasSubscribers)
      channels.failed.publish({
        storage: job.storage,
        topic: job.name,
        group,
        id: job.id,
        attempt: (job.attempts?.failures ?? 0) + 1,
        error,
      })
  }

  deadLettered(job: Job, group: string, error: unknown): void {
    if (channels.deadLettered.hasSubscribers)
      channels.deadLettered.publish({ storage: job.storage, topic: job.name, group, id: job.id, error })
  }

  published(storage: string, messages: number): void {
    if (channels.published.hasSubscribers) channels.published.publish({ storage, messages })
  }

  warn(message: string, error: unknown): void {
    if (channels.warning.hasSubscribers) channels.warning.publish({ message, error })
  }
}

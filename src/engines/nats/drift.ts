import type { StreamConfig } from '@nats-io/jetstream'
import { covers } from '../../topic/pattern.ts'

/** One setting of a stream that is not as asked for. */
export interface Difference {
  readonly setting: 'subjects' | 'num_replicas' | 'duplicate_window' | 'storage' | 'retention' | 'allow_direct' | 'allow_batched'
  readonly has: string
  readonly wanted: string
}

/** Settings the server does not change on a stream that is there. */
const fixed = new Set<Difference['setting']>(['storage', 'retention'])

/** What differs between a stream and what is asked for; settings that nobody asked for are nobody's business. */
export function differences(has: StreamConfig, wanted: Partial<StreamConfig>): Difference[] {
  const found: Difference[] = []
  const note = (setting: Difference['setting'], one: unknown, other: unknown): void => {
    if (other !== undefined && one !== other) found.push({ setting, has: String(one), wanted: String(other) })
  }
  const missing = (wanted.subjects ?? []).filter((subject) => !(has.subjects ?? []).some((one) => covers(one, subject)))
  if (missing.length > 0) note('subjects', (has.subjects ?? []).join(' '), wanted.subjects!.join(' '))
  note('num_replicas', has.num_replicas, wanted.num_replicas)
  note('duplicate_window', has.duplicate_window, wanted.duplicate_window)
  note('storage', has.storage, wanted.storage)
  note('retention', has.retention, wanted.retention)
  note('allow_direct', has.allow_direct, wanted.allow_direct)
  note('allow_batched', has.allow_batched ?? false, wanted.allow_batched)
  return found
}

export function canChange(differences: readonly Difference[]): boolean {
  return !differences.some(({ setting }) => fixed.has(setting))
}

export function textOf(differences: readonly Difference[]): string {
  return differences.map(({ setting, has, wanted }) => `${setting} is ${has}, asked for is ${wanted}`).join('; ')
}

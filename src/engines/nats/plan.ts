import type { Source, SubscriptionSpec } from '../engine.ts'
import type { Durable } from './consumers.ts'
import { durableName, hashed, partitionDurable, partitionToken } from './names.ts'
import type { StreamRef } from './streams.ts'

/** How a group reads one storage: durables that all members share, and those that one member owns at a time. */
export interface Plan {
  readonly shared: readonly Durable[]
  /** By part; each has one owner. */
  readonly owned: readonly Durable[]
}

/** `named`: what the group's durable is called where it is not the group's name. `parts` of the lanes that this source shares with others: 0 = nobody owns anything. */
export function planOf(spec: SubscriptionSpec, source: Source, ref: StreamRef, parts: number, named?: string): Plan {
  const name = durableName(spec.group, source.storage, named)
  const filter = source.filter ?? source.storage
  const keyed = `${filter}.${partitionToken}.`
  const durable = (as: string, filters: readonly string[]): Durable => ({
    stream: ref.name,
    name: as,
    group: spec.group,
    storage: source.storage,
    filters,
    from: source.from,
    ackWaitMs: spec.leaseMs,
  })
  const whole = ref.partitions > 0 ? [filter, `${keyed}*`] : [filter]
  if (parts === 0) return { shared: [durable(name, whole)], owned: [] }
  if (parts === 1) return { shared: [], owned: [durable(name, whole)] }
  // Messages without a key have no lane: anybody takes them.
  return {
    shared: [durable(name, [filter])],
    owned: Array.from({ length: parts }, (_, part) => durable(partitionDurable(name, part), [`${keyed}${part}`])),
  }
}

/** How many owners a group has at once on this storage. */
export function partsOf(spec: SubscriptionSpec, ref: StreamRef): number {
  if (spec.order === 'none' || spec.orderScope === 'process') return 0
  return spec.order === 'key' && ref.partitions > 1 ? ref.partitions : 1
}

/** A group's members on a storage, by a token of their own. */
export function scopeOf(stream: string, durable: string): string {
  return hashed(`${stream}/${durable}`)
}

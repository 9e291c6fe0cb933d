import { BusError } from '../../errors.ts'
import type { MessageId } from './protocol.ts'

/** In a topic or one of its partitions: all up to an entry, and of that entry up to one of its batch. */
export type Place = Pick<MessageId, 'ledger' | 'entry' | 'batch'>

/** Behind nothing at all. */
export const beginning: Place = { ledger: -1, entry: -1, batch: -1 }
/** Behind any message of a batch. */
export const whole = 2 ** 31 - 1

export const behind = ({ ledger, entry }: Pick<Place, 'ledger' | 'entry'>): Place => ({ ledger, entry, batch: whole })
/** So that the entry is the first that is behind the place. */
export const before = ({ ledger, entry }: Pick<Place, 'ledger' | 'entry'>): Place => behind({ ledger, entry: entry - 1 })

export const isBehind = (one: Place, other: Place): boolean =>
  (one.ledger - other.ledger || one.entry - other.entry || one.batch - other.batch) > 0

/** A position as a message has it: that of the message, and where a page stood in each partition; either may be missing. */
const position = /^(?:(\d+):(\d+):(-?\d+):(-?\d+))?(?:@([\d:,-]+))?$/

export const pagePosition = (places: readonly Place[]): string =>
  `@${places.map(({ ledger, entry, batch }) => `${ledger}:${entry}:${batch}`).join(',')}`

/** Where a partition's place is among those of a page: partitions may be missing, and a topic without any has one. */
export const slotOf = (partition: number): number => Math.max(0, partition)

/** As many places as these partitions need. */
export function placesFor(partitions: readonly number[]): Place[] {
  return new Array<Place>(1 + Math.max(0, ...partitions.map(slotOf))).fill(beginning)
}

/**
 * For each partition by its number; of those that a page does not tell, the beginning, so that nothing is left out.
 * @throws BusError `invalid_argument` where it is no position, or that of a message and says nothing of the other partitions
 */
export function placesOf(text: string, partitions: readonly number[]): Place[] {
  const [matched, ledger, entry, partition, batch, page] = position.exec(text) ?? []
  if (!matched)
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(text)} is none of Pulsar's; use one that it gave, 'start', 'end' or a time`,
    )
  if (page === undefined && partitions.length > 1)
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(text)} is in one of ${partitions.length} partitions; use one that browsing gave, 'start', 'end' or a time`,
    )
  const places = placesFor(partitions)
  for (const [i, one] of (page ?? '').split(',').entries()) {
    const told = one.split(':').map(Number)
    if (i < places.length && told.length === 3 && told.every(Number.isSafeInteger))
      places[i] = { ledger: told[0]!, entry: told[1]!, batch: told[2]! }
  }
  const slot = slotOf(Number(partition))
  if (ledger !== undefined && slot < places.length) places[slot] = { ledger: Number(ledger), entry: Number(entry), batch: Number(batch) }
  return places
}

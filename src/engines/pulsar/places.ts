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

/** For each of so many partitions; of those that the position does not tell, the beginning, so that nothing is left out. */
export function placesOf(text: string, partitions: number): Place[] {
  const [matched, ledger, entry, partition, batch, page] = position.exec(text) ?? []
  if (!matched)
    throw new BusError(
      'invalid_argument',
      `position ${JSON.stringify(text)} is none of Pulsar's; use one that it gave, 'start', 'end' or a time`,
    )
  const told = (page ?? '').split(',').map((one) => one.split(':').map(Number))
  const places = Array.from({ length: partitions }, (_, i): Place => {
    const [ledger, entry, batch] = told[i] ?? []
    return batch === undefined || [ledger, entry, batch].some((number) => !Number.isSafeInteger(number))
      ? beginning
      : { ledger: ledger!, entry: entry!, batch }
  })
  if (ledger !== undefined) places[Math.max(0, Number(partition))] = { ledger: Number(ledger), entry: Number(entry), batch: Number(batch) }
  return places.slice(0, partitions)
}

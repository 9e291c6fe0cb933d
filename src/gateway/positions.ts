import { BusError } from '../errors.ts'

/** Where a reader stands, by storage. */
export type Positions = ReadonlyMap<string, string>

/**
 * The id of an event: the position itself where the reader reads one topic by its own name, else each storage with its
 * position, as a reader of a pattern stands in several: `docs.a/12 mail.sent/7`. No name of a topic holds a slash or a space.
 */
export function formatId(topic: string, positions: Positions): string {
  const entries = [...positions]
  const [first] = entries
  if (entries.length === 0) return 'start'
  if (entries.length === 1 && first![0] === topic) return encodeURIComponent(first![1])
  return entries.map(([storage, at]) => `${storage}/${encodeURIComponent(at)}`).join(' ')
}

/** @throws BusError `invalid_argument` */
export function parseId(topic: string, id: string): Positions {
  if (id === 'start') return new Map()
  return new Map(
    id.split(' ').map((part) => {
      const [storage, at, ...rest] = part.includes('/') ? part.split('/') : [topic, part]
      if (!storage || !at || rest.length > 0 || !/^([^%]|%[0-9A-F]{2})+$/i.test(at))
        throw new BusError('invalid_argument', `'${id.slice(0, 80)}' is not the id of an event of this stream`)
      return [storage, decodeURIComponent(at)] as const
    }),
  )
}

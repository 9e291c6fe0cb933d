import fc from 'fast-check'
import { expect, test } from 'vitest'
import { positionOf } from '../../src/engines/pulsar/message.ts'
import { before, beginning, behind, isBehind, pagePosition, placesOf } from '../../src/engines/pulsar/places.ts'
import { BusError } from '../../src/errors.ts'

const place = fc.record({ ledger: fc.nat(2 ** 31), entry: fc.nat(100_000), batch: fc.integer({ min: -1, max: 1000 }) })
const anywhere = fc.oneof(place, place.map(behind), place.map(before), fc.constant(beginning))

test('a position leads back to where a page stood in each partition, and behind the message that it is of', () => {
  fc.assert(
    fc.property(fc.array(anywhere, { minLength: 1, maxLength: 5 }), place, fc.nat(4), (places, message, partition) => {
      const page = pagePosition(places)
      const partitions = places.map((_, i) => i)
      expect(placesOf(page, partitions)).toEqual(places)
      // Partitions that came later are read from their beginning.
      expect(placesOf(page, [...partitions, places.length])).toEqual([...places, beginning])
      const at = partition % places.length
      const position = positionOf({ ...message, partition: at })
      expect(placesOf(position + page, partitions)).toEqual(places.with(at, message))
      // Alone it says nothing of the others: they would all come again.
      if (places.length > 1) expect(() => placesOf(position, partitions)).toThrow(/one of \d partitions.*browsing/)
      // A broker may have deleted some that nobody used.
      const left = partitions.filter((one) => one === at || one % 2 === 0)
      expect(placesOf(position + page, left)[at]).toEqual(message)
    }),
  )
  expect(placesOf(positionOf({ ledger: 1, entry: 2, batch: -1, partition: -1 }), [-1])).toEqual([{ ledger: 1, entry: 2, batch: -1 }])
})

test('anything else is refused', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        for (const { ledger, entry, batch } of placesOf(text, [0, 1, 2]))
          expect([ledger, entry, batch].every(Number.isSafeInteger)).toBe(true)
      } catch (error) {
        expect(error).toBeInstanceOf(BusError)
      }
    }),
  )
  expect(() => placesOf('17', [-1])).toThrow(BusError)
})

test('places are in the order of what is stored', () => {
  const [first, second] = [
    { ledger: 5, entry: 3 },
    { ledger: 5, entry: 4 },
  ]
  const inOrder = [
    beginning,
    before({ ledger: 5, entry: 0 }),
    { ...first, batch: -1 },
    { ...first, batch: 0 },
    before(second),
    { ...second, batch: 2 },
    { ledger: 6, entry: 0, batch: -1 },
  ]
  for (const [i, one] of inOrder.entries()) for (const [j, other] of inOrder.entries()) expect(isBehind(one, other)).toBe(i > j)
  expect(behind(first)).toEqual(before(second))
})

import type { Delivery, SettleResult } from '../../engines/engine.ts'
import { type Seat, textOf } from '../seat.ts'
import { type Case, equal, ok } from './case.ts'

/** What `EngineSubscription.settle` owes, without the core in front. */
export const contractSettling: readonly Case[] = [
  {
    rule: 'R4',
    name: 'engine: what was given back comes again after its delay and not before, marked as redelivered',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(10)
      await h.send(engine, ['x'])
      await h.until('it is delivered', () => seat.deliveries.length === 1)
      const [first] = seat.deliveries
      ok(!first!.redelivered, 'the first delivery is marked as redelivered')
      const begun = Date.now()
      taken(await seat.release(first!, 400), 'release')
      await h.until('it comes again', () => seat.deliveries.length === 2)
      const after = Date.now() - begun
      ok(after >= 395, `given back for 400 ms it came again after ${after} ms`)
      if (engine.capabilities.redelivered) ok(seat.deliveries[1]!.redelivered, 'it is not marked as redelivered')
      await seat.ack(seat.deliveries[1]!)
      await h.quiet()
      equal(seat.deliveries.length, 2, 'deliveries')
    },
  },
  {
    rule: 'R3',
    name: 'engine: an acknowledged message never comes again, nor to the next member; one that is not does',
    async run(h) {
      const engine = await h.engine()
      const seat = await h.seat(engine)
      seat.grant(100)
      await h.send(engine, ['a', 'b', 'c', 'd'], { key: 'k' })
      await h.until('four are delivered', () => seat.deliveries.length === 4)
      const [a, b, , d] = [...seat.deliveries].sort((x, y) => (textOf(x) < textOf(y) ? -1 : 1))
      await seat.ack(a!, b!)
      await seat.ack(d!)
      await seat.close()
      const next = await h.seat(engine)
      next.grant(100)
      await h.until('the one left comes again', () => next.texts.includes('c'))
      await h.quiet()
      // Where only a position is kept, what was acknowledged past the gap may come again.
      const allowed = engine.capabilities.settle === 'message' ? ['c'] : ['c', 'd']
      equal(
        next.texts.filter((text) => !allowed.includes(text)),
        [],
        'delivered though it was acknowledged',
      )
    },
  },
  {
    rule: 'R5',
    name: 'engine: what another member has got is lost to the first: it is told, its results say so, and the fence has grown',
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const first = await h.seat(a, { leaseMs: 400 })
      first.grant(100)
      await h.send(
        a,
        Array.from({ length: 16 }, (_, i) => `${i}`),
      )
      await h.until('all are delivered', () => first.deliveries.length === 16)
      // Leases run out, or, where there are none, a share of the partitions moves.
      const second = await h.seat(b, { leaseMs: 5000 })
      second.grant(100)
      await h.until('the second member has some of them', () => second.deliveries.length > 0, 2)
      const moved = both(first, second)
      ok(moved.length > 0, 'the second member has messages that the first never had')
      // By a call, or where the other is in another process at its next extension.
      for (const [old] of moved)
        ok(first.lostOnes.has(old) || (await first.extend(old, 400))[0] === 'lost', `the first is not told that it lost ${textOf(old)}`)
      for (const [old, taken] of moved) ok(taken.fence > old.fence, `the fence went from ${old.fence} to ${taken.fence}`)
      equal(
        await first.ack(...moved.map(([old]) => old)),
        moved.map(() => 'lost'),
        'late results',
      )
      const results = await second.ack(...moved.map(([, taken]) => taken))
      ok(!results.includes('lost'), 'the late results of the first took the messages from the second')
    },
  },
  {
    rule: 'R5',
    name: 'engine: an extended lease holds, and an ended one does not',
    skip: ({ lease, settle }) =>
      settle === 'position'
        ? 'the engine has no leases: partitions bind messages to members'
        : lease.maxMs < 2000
          ? 'the engine cannot extend a lease so long'
          : undefined,
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const seat = await h.seat(a, { leaseMs: 1500 })
      seat.grant(2)
      await h.send(a, ['kept', 'dropped'])
      await h.until('both are delivered', () => seat.deliveries.length === 2)
      const kept = seat.deliveries.find((delivery) => textOf(delivery) === 'kept')!
      taken(await seat.extend(kept, 60_000), 'extension')
      const other = await h.seat(b)
      other.grant(2)
      await h.until('the other one goes to another member', () => other.texts.includes('dropped'))
      await h.quiet(300)
      ok(!other.texts.includes('kept'), 'the lease that was extended ran out')
      ok((await seat.ack(kept))[0] !== 'lost', 'the extended delivery is lost')
    },
  },
  {
    rule: 'R5',
    name: 'engine: past the longest lease it declares a delivery is lost, however often it is extended',
    skip: ({ lease }) =>
      lease.maxMs === Number.POSITIVE_INFINITY
        ? 'it declares no limit'
        : lease.maxMs > 5000
          ? `${lease.maxMs} ms is too long to wait`
          : lease.maxMs === 0
            ? 'it cannot extend at all'
            : undefined,
    async run(h) {
      const [a, b] = [await h.engine(), await h.engine()]
      const seat = await h.seat(a, { leaseMs: 500 })
      seat.grant(1)
      await h.send(a, ['x'])
      await h.until('it is delivered', () => seat.deliveries.length === 1)
      const [held] = seat.deliveries
      const other = await h.seat(b)
      other.grant(1)
      await h.until(
        'it goes to another member',
        async () => {
          if (!seat.lostOnes.has(held!)) await seat.extend(held!, 500)
          await h.quiet(50)
          return other.deliveries.length === 1
        },
        2,
      )
      ok(seat.lostOnes.has(held!), 'the first member is not told')
      equal(await seat.extend(held!, 500), ['lost'], 'extending what is lost')
    },
  },
]

/** Confirmed, or sent where the broker never answers. */
function taken([result]: readonly SettleResult[], what: string): void {
  ok(result === 'confirmed' || result === 'sent', `${what}: ${result}`)
}

/** The same messages in two hands. */
function both(first: Seat, second: Seat): [Delivery, Delivery][] {
  return second.deliveries.flatMap((taken): [Delivery, Delivery][] => {
    const old = first.deliveries.find((one) => textOf(one) === textOf(taken))
    return old ? [[old, taken]] : []
  })
}

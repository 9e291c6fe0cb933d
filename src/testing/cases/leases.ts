import { BusError } from '../../errors.ts'
import { nothingLost, report } from '../checkers.ts'
import { between, override } from '../models/wrapping.ts'
import { type Case, equal, ok } from './case.ts'

export const leases: readonly Case[] = [
  {
    rule: 'R5',
    name: 'a handler that takes longer than the lease is not disturbed, nor what waits behind it',
    skip: (capabilities) => (capabilities.lease.maxMs === 0 ? 'the engine cannot extend a lease' : undefined),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      const runs: string[] = []
      const slow = async (message: { id: string }): Promise<void> => {
        runs.push(message.id)
        await h.quiet(1600)
      }
      // Extended each third of it: a machine at its limit may come to that half a second late, and more.
      await h.subscribe(a, h.topic, { group: 'g', concurrency: 2, lease: 1500 }, slow, 'a')
      await h.subscribe(b, h.topic, { group: 'g', concurrency: 2, lease: 1500 }, slow, 'b')
      for (let i = 0; i < 8; i++) await h.publish(a, h.topic, { i })
      // One of the two may get most of them, and takes two at a time.
      await h.until('all are handled', () => h.history.acknowledged('g').size === 8, 2)
      equal(runs.length, 8, 'runs')
    },
  },
  {
    rule: 'R5',
    name: 'a timeout aborts the signal and counts as a failure',
    async run(h) {
      const bus = await h.bus()
      let aborted = false
      let runs = 0
      await bus.subscribe(h.topic, { group: 'g', timeout: 100 }, (_message, delivery) => {
        if (++runs > 1) return
        delivery.signal.addEventListener('abort', () => {
          aborted = true
        })
        return new Promise(() => {})
      })
      await bus.publish(h.topic, {})
      await h.until('the second run has come', () => runs === 2)
      ok(aborted, 'the signal did not abort')
    },
  },
  {
    rule: 'R9',
    name: 'close lets handlers finish, gives back the rest, and calls no handler afterwards',
    async run(h) {
      const bus = await h.bus()
      let running = 0
      await h.subscribe(bus, h.topic, { group: 'g', concurrency: 2 }, async () => {
        running++
        await h.quiet(150)
        running--
      })
      for (let i = 0; i < 20; i++) await h.publish(bus, h.topic, { i })
      await h.until('some run', () => running === 2)
      await bus.close()
      equal(running, 0, 'handlers still running after close')
      const delivered = h.history.count('deliver')
      await h.quiet()
      equal(h.history.count('deliver'), delivered, 'deliveries after close')
      const next = await h.bus()
      await h.subscribe(next, h.topic, { group: 'g' })
      await h.until('the rest is handled', () => h.history.acknowledged('g').size === 20)
      equal(h.history.count('deliver'), 20, 'runs in all: what was given back counts nowhere')
      report(nothingLost(h.history, ['g']))
    },
  },
  {
    rule: 'R9',
    name: 'past the deadline handlers are aborted and their messages given back',
    async run(h) {
      const bus = await h.bus()
      let aborted = false
      const work = await bus.subscribe(h.topic, { group: 'g' }, (_message, delivery) => {
        delivery.signal.addEventListener('abort', () => {
          aborted = true
        })
        return new Promise(() => {})
      })
      await bus.publish(h.topic, {})
      await h.until('it runs', () => work.status().running === 1)
      const begun = Date.now()
      await work.close({ deadlineMs: 100 })
      ok(aborted && Date.now() - begun < 2000, 'not aborted, or too late')
      const attempts: number[] = []
      await bus.subscribe(h.topic, { group: 'g' }, (_message, delivery) => void attempts.push(delivery.attempt))
      await h.until('it is handled again', () => attempts.length === 1)
      equal(attempts, [1], 'attempt: a hand-back counts nowhere')
    },
  },
  {
    rule: 'R7',
    name: 'a slow member takes no more than it can handle: another gets the rest',
    skip: (capabilities) => (capabilities.settle === 'position' ? 'partitions bind messages to members' : undefined),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      const gate = Promise.withResolvers<void>()
      await h.subscribe(a, h.topic, { group: 'g', concurrency: 1 }, () => gate.promise, 'slow')
      for (let i = 0; i < 10; i++) await h.publish(a, h.topic, { i })
      await h.until('the slow one has begun', () => h.history.count('deliver') === 1)
      await h.subscribe(b, h.topic, { group: 'g', concurrency: 4 }, undefined, 'quick')
      try {
        await h.until('the quick one has handled nine', () => h.history.acknowledged('g').size === 9)
      } finally {
        gate.resolve()
      }
    },
  },
  {
    rule: 'R8',
    name: 'a settlement that did not get through is sent until it does',
    async run(h) {
      let refused = 0
      const bus = await h.bus({}, (engine) =>
        override(
          engine,
          between(engine, () => ({
            subscribed: (subscription) => ({
              async settle(batch) {
                if (batch.some(({ kind }) => kind === 'ack') && refused++ < 2) throw new BusError('engine_unavailable', 'not now')
                return subscription.settle(batch)
              },
            }),
          })),
        ),
      )
      await h.subscribe(bus, h.topic, { group: 'g' })
      await h.publish(bus, h.topic, {})
      await h.until('it is handled', () => h.history.acknowledged('g').size === 1)
      await h.until('the acknowledgement got through', async () => (await bus.admin.lag(h.topic, 'g')) === 0)
      equal(h.history.count('deliver'), 1, 'runs')
    },
  },
  {
    rule: 'R8',
    name: 'after a restart of the broker everything confirmed is handled',
    skip: (_capabilities, _engine, subject) => (subject.restart ? undefined : 'this broker cannot be restarted here'),
    async run(h) {
      const bus = await h.bus()
      await h.subscribe(bus, h.topic, { group: 'g' }, () => h.quiet(1))
      for (let i = 0; i < 30; i++) await h.publish(bus, h.topic, { i })
      h.history.add({ kind: 'restart', what: 'broker' })
      await h.subject.restart!()
      for (let i = 0; i < 30; i++) await h.publish(bus, h.topic, { i })
      const confirmed = h.history.count('ok')
      await h.until('all confirmed are handled', () => nothingLost(h.history, ['g']).length === 0, 2)
      ok(confirmed > 0, 'nothing was confirmed')
      report(nothingLost(h.history, ['g']))
    },
  },
  {
    rule: 'R8',
    name: 'what a crashed member had in hand goes to another',
    skip: (_capabilities, _engine, subject) => (subject.crash ? undefined : 'a member cannot be crashed here'),
    async run(h) {
      const [a, b] = [await h.bus(), await h.bus()]
      await h.subscribe(a, h.topic, { group: 'g', lease: 500, concurrency: 4 }, () => new Promise(() => {}), 'a')
      for (let i = 0; i < 6; i++) await h.publish(b, h.topic, { i }, { key: `k${i}` })
      await h.until('the first member has some', () => h.history.count('deliver') > 0)
      h.history.add({ kind: 'restart', what: 'member a' })
      await h.subject.crash!(h.engineOf(a))
      await h.subscribe(b, h.topic, { group: 'g', lease: 500 }, undefined, 'b')
      await h.until('all are handled', () => h.history.acknowledged('g').size === 6, 2)
    },
  },
]

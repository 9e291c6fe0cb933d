import { statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { Database } from '../../src/engines/embedded/store/database.ts'
import { Retention } from '../../src/engines/embedded/store/retention.ts'
import { Topics } from '../../src/engines/embedded/store/topics.ts'
import { engine, joinGroup, message, sleep, source, temporary } from './support.ts'

const day = 24 * 3600_000

/** Sweeps as the store's thread does, at a time of the test's choice. */
function sweep(dir: string, now: number, historyMs = 7 * day): number {
  const db = new Database(dir)
  const topics = new Topics(db)
  const retention = new Retention(db, topics, historyMs, 600_000)
  db.begin(true)
  while (retention.sweep(now));
  topics.flush()
  db.commit()
  db.close()
  const raw = new DatabaseSync(join(dir, 'bus.db'))
  const { n } = raw.prepare('SELECT count(*) AS n FROM message').get() as { n: number }
  raw.close()
  return n
}

test('nothing goes before the slowest group has settled it, whatever its age', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  await bus.publish(Array.from({ length: 2500 }, (_, i) => message('a', String(i))))
  const quick = await joinGroup(bus, 'quick', [source('a')], {}, 5000)
  const slow = await joinGroup(bus, 'slow', [source('a')], {}, 12)
  await quick.until(2500)
  await quick.settle('ack', quick.all)
  await slow.until(12)
  // Leases, releases and what was not read yet all hold.
  await slow.settle('ack', [...slow.all.slice(0, 5), ...slow.all.slice(6, 9)])
  expect(sweep(dir, Date.now() + 30 * day)).toBe(2495)
  await slow.settle('release', [slow.all[5]!], 60_000)
  expect(sweep(dir, Date.now() + 30 * day)).toBe(2495)
  await slow.subscription.close()
  await bus.admin.deleteGroup('a', 'slow')
  expect(sweep(dir, Date.now() + 6 * day)).toBe(2495)
  expect(sweep(dir, Date.now() + 8 * day)).toBe(0)
  expect(await bus.admin.topics()).toMatchObject([{ messages: 0, bytes: 0 }])
})

test('a declared retention is kept in age, number and bytes', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  await bus.admin.declare('number', { messages: 10 })
  await bus.admin.declare('bytes', { bytes: 1000 })
  await bus.admin.declare('age', { ageMs: 1000 })
  await bus.admin.declare('none')
  for (const storage of ['number', 'bytes', 'age', 'none'])
    await bus.publish(Array.from({ length: 30 }, () => message(storage, new Uint8Array(100))))
  sweep(dir, Date.now() + 5000)
  await sleep(20)
  expect((await bus.admin.topics()).map(({ storage, messages, bytes }) => [storage, messages, bytes])).toEqual([
    ['number', 10, 1000],
    ['bytes', 10, 1000],
    ['age', 0, 0],
    ['none', 30, 3000],
  ])
})

test('a purge takes what it is told, from groups too', async () => {
  const bus = await engine()
  const outcomes = await bus.publish(Array.from({ length: 3500 }, (_, i) => message('a', String(i))))
  const hand = await joinGroup(bus, 'g', [source('a')], {}, 3)
  await hand.until(3)
  await hand.settle('release', hand.all.slice(0, 1), 60_000)
  const position = (outcomes[2000] as { position: string }).position
  expect(await bus.admin.purge('a', position)).toBe(2000)
  expect((await bus.admin.groups('a'))[0]).toMatchObject({ waiting: 0, inHand: 2, lag: 1502 })
  hand.subscription.grant(1, 1e6)
  await hand.until(4)
  expect(hand.texts[3]).toBe('2000')
  expect(await bus.admin.purge('a')).toBe(1500)
  await expect(bus.admin.purge('b')).rejects.toMatchObject({ code: 'not_found' })
})

test('an id is remembered for its window after its message is gone, and no longer', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const first = message('a', 'x', { id: 'same' })
  const again = async (): Promise<unknown> => {
    const [outcome] = await bus.publish([first])
    return outcome!.ok && outcome!.duplicate
  }
  expect(await again()).toBe(false)
  await bus.admin.purge('a')
  sweep(dir, Date.now() + 9 * 60_000)
  expect(await again()).toBe(true)
  sweep(dir, Date.now() + 11 * 60_000)
  expect(await again()).toBe(false)
  expect(await again()).toBe(true)
})

test('ids are forgotten a chunk at a time, however many there are', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  await bus.publish(Array.from({ length: 5000 }, () => message('a', 'x')))
  await bus.admin.purge('a')
  const db = new Database(dir)
  const retention = new Retention(db, new Topics(db), 7 * day, 600_000)
  const count = db.rows('SELECT count(*) FROM recent_id')
  const left = (): number => (count.get() as unknown as [number])[0]
  const seen = [left()]
  let more = true
  while (more) {
    db.begin(true)
    more = retention.sweep(Date.now() + 11 * 60_000)
    db.commit()
    seen.push(left())
  }
  db.close()
  expect(seen).toEqual([5000, 4000, 3000, 2000, 1000, 0, 0])
})

test('a large topic is deleted a chunk at a time: the log stays as small as it is', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  for (let i = 0; i < 40; i++) await bus.publish(Array.from({ length: 1000 }, () => message('a', new Uint8Array(1000))))
  await bus.admin.deleteTopic('a')
  expect(await bus.admin.topics()).toEqual([])
  expect(statSync(join(dir, 'bus.db-wal')).size).toBeLessThan(32 * 1024 * 1024)
})

test('the lag of each group is its own, wherever the others stand', async () => {
  const bus = await engine()
  await bus.publish(Array.from({ length: 100 }, (_, i) => message('a', String(i))))
  const places = { all: 100, most: 70, some: 40, none: 0 }
  for (const [group, count] of Object.entries(places)) {
    const hand = await joinGroup(bus, group, [source('a')], {}, count)
    if (count > 0) await hand.settle('ack', await hand.until(count))
  }
  await bus.publish([message('b', 'elsewhere'), message('a', 'last')])
  const groups = await bus.admin.groups('a')
  expect(Object.fromEntries(groups.map(({ group, lag }) => [group, lag]))).toEqual({ all: 1, most: 31, some: 61, none: 101 })
})

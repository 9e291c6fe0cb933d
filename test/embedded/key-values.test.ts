import { MessageChannel } from 'node:worker_threads'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Database } from '../../src/engines/embedded/store/database.ts'
import { KeyValues } from '../../src/engines/embedded/store/key-values.ts'
import { Outbox } from '../../src/engines/embedded/store/outbox.ts'
import { Store } from '../../src/engines/embedded/store/store.ts'
import { Turns } from '../../src/engines/embedded/store/turns.ts'
import { temporary } from './support.ts'

const minute = 60_000

function open(dir: string) {
  const db = new Database(dir)
  const { port1 } = new MessageChannel()
  onTestFinished(() => {
    port1.close()
    db.close()
  })
  const rows = db.rows('SELECT key, revision FROM kv_entry ORDER BY revision')
  return {
    kv: new KeyValues(db, new Outbox(port1)),
    rows: () => rows.all() as unknown as [string, number][],
    inTurn<Result>(action: () => Result): Result {
      db.begin(false)
      const result = action()
      db.commit()
      return result
    },
  }
}

test('superseded revisions go a minute later, in slices, by whichever process sweeps; what stands is looked at once', () => {
  const dir = temporary()
  const [one, two] = [open(dir), open(dir)]
  const now = Date.now()
  one.inTurn(() => {
    const bucket = one.kv.open('b', { history: 2 })
    for (let i = 0; i < 2500; i++) one.kv.put(bucket, `key.${i}`, Buffer.from('x'), undefined, now - 10 * minute)
    for (let i = 0; i < 3; i++) one.kv.put(bucket, 'key.7', Buffer.from('y'), undefined, now - 2 * minute)
    one.kv.put(bucket, 'key.7', Buffer.from('z'), undefined, now - 1000)
  })
  const ofSeven = (): number[] =>
    one
      .rows()
      .filter(([key]) => key === 'key.7')
      .map(([, revision]) => revision)
  expect(ofSeven()).toEqual([8, 2501, 2502, 2503, 2504])
  expect([one, two, one].map((process) => process.inTurn(() => process.kv.sweep(now)))).toEqual([true, true, false])
  // What the youngest superseded is still there for watchers.
  expect(ofSeven()).toEqual([2502, 2503, 2504])
  two.inTurn(() => two.kv.sweep(now + 2 * minute))
  expect(ofSeven()).toEqual([2503, 2504])
  one.inTurn(() => one.kv.open('b', { history: 1 }))
  for (let i = 0; i < 4; i++) two.inTurn(() => two.kv.sweep(now + 2 * minute))
  expect(ofSeven()).toEqual([2504])
  expect(one.rows().length).toBe(2500)
})

test('expired entries go in slices, the oldest first', () => {
  const one = open(temporary())
  const now = Date.now()
  one.inTurn(() => {
    const bucket = one.kv.open('b', { ttlMs: minute })
    for (let i = 0; i < 2500; i++) one.kv.put(bucket, `key.${i}`, Buffer.from('x'), undefined, i < 1500 ? now - 2 * minute : now)
  })
  expect(one.inTurn(() => one.kv.sweep(now))).toBe(true)
  expect(one.rows().length).toBe(1500)
  expect(one.inTurn(() => one.kv.sweep(now))).toBe(false)
  expect(one.rows().length).toBe(1000)
})

test('while retention has more to delete, nothing else is swept but on its beat', () => {
  const { port1 } = new MessageChannel()
  onTestFinished(() => port1.close())
  const now = Date.now()
  const flag = new Int32Array(new SharedArrayBuffer(8))
  const forEver = Number.POSITIVE_INFINITY
  const store = new Store(
    { port: port1, flag, dir: undefined, dedupeWindowMs: 1000, historyMs: 1000, maxBytes: forEver, pollMs: forEver },
    now,
  )
  onTestFinished(() => store.db.close())
  const turns = new Turns(store, now)
  const swept = vi.spyOn(store.retention, 'sweep').mockReturnValue(true)
  const others = [vi.spyOn(store.keyValues, 'sweep'), vi.spyOn(store.records, 'sweep'), vi.spyOn(store.questions, 'sweep')]
  for (let ms = 10_000; ms <= 30_000; ms += 10) turns.step(now + ms)
  expect(swept.mock.calls.length).toBeGreaterThan(1000)
  expect(others.map((sweep) => sweep.mock.calls.length)).toEqual([3, 3, 3])
})

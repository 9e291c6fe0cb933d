import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { openEmbedded } from '../../src/engines/embedded/engine.ts'
import { connect } from '../../src/index.ts'
import { engine, joinGroup, message, mountSmallDisk, source, temporary } from './support.ts'

test('a file that is no store is refused and left as it is', async () => {
  const dir = temporary()
  const file = join(dir, 'bus.db')
  writeFileSync(file, 'my shopping list, which is longer than the sixteen bytes of a header')
  await expect(openEmbedded({ dir })).rejects.toMatchObject({
    code: 'store_corrupt',
    message: expect.stringContaining('nothing more is written to it'),
  })
  expect(readFileSync(file, 'utf8')).toContain('shopping list')
})

test('another program’s database is refused and left as it is', async () => {
  const dir = temporary()
  const other = new DatabaseSync(join(dir, 'bus.db'))
  other.exec('CREATE TABLE recipes(name TEXT)')
  other.close()
  const before = readFileSync(join(dir, 'bus.db'))
  await expect(openEmbedded({ dir })).rejects.toMatchObject({ code: 'store_corrupt', message: expect.stringContaining('another program') })
  expect(readFileSync(join(dir, 'bus.db')).equals(before)).toBe(true)
})

test.skipIf(!existsSync('/proc/locks'))('opening a store twice in a process keeps the locks of the first connection', async () => {
  const dir = temporary()
  const locks = (): number => {
    const { ino } = statSync(join(dir, 'bus.db'))
    return readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`:${ino} `)).length
  }
  await engine({ dir })
  expect(locks()).toBe(1)
  await engine({ dir })
  expect(locks()).toBe(1)
})

test('damaged pages are found at open', async () => {
  const dir = temporary()
  const bus = await openEmbedded({ dir })
  await bus.publish(Array.from({ length: 2000 }, (_, i) => message('a', `message ${i}`)))
  await bus.close()
  const file = join(dir, 'bus.db')
  const bytes = readFileSync(file)
  bytes.fill(0xab, 4096 * 5, 4096 * 12)
  writeFileSync(file, bytes)
  await expect(openEmbedded({ dir })).rejects.toMatchObject({ code: 'store_corrupt', message: expect.stringContaining('backup') })
  expect(readFileSync(file).equals(bytes)).toBe(true)
})

test('a store of a newer version is refused', async () => {
  const dir = temporary()
  await (await openEmbedded({ dir })).close()
  const raw = new DatabaseSync(join(dir, 'bus.db'))
  raw.exec('PRAGMA user_version=99')
  raw.close()
  await expect(openEmbedded({ dir })).rejects.toMatchObject({ code: 'store_newer', message: expect.stringContaining('Update cozebus') })
})

/** What a user without rights hears. */
function openAsNobody(dir: string): string {
  return execFileSync(process.execPath, [new URL('./as-nobody.ts', import.meta.url).pathname, dir], { encoding: 'utf8' })
}

test.skipIf(process.platform === 'win32')('a file or folder that cannot be written is refused, and left as it is', async ({ skip }) => {
  const dir = temporary()
  if (openAsNobody(dir) === 'unreadable\n') return skip('this checkout cannot be read by another user')
  const bus = await openEmbedded({ dir })
  await bus.publish([message('a', '1')])
  await bus.close()
  const file = join(dir, 'bus.db')
  const before = readFileSync(file)
  onTestFinished(() => chmodSync(dir, 0o755))
  chmodSync(dir, 0o777)
  chmodSync(join(dir, 'members'), 0o777)
  chmodSync(join(dir, 'bell'), 0o666)
  chmodSync(file, 0o666)
  expect(openAsNobody(dir)).toBe('opened\n')
  const after = readFileSync(file)
  expect(after.equals(before)).toBe(false)
  chmodSync(file, 0o444)
  expect(openAsNobody(dir)).toMatch(/^store_readonly .*write permission/)
  chmodSync(file, 0o666)
  chmodSync(dir, 0o555)
  expect(openAsNobody(dir)).toMatch(/^store_readonly .*write permission/)
  expect(openAsNobody(join(dir, 'below'))).toMatch(/^store_readonly/)
  expect(readFileSync(file).equals(after)).toBe(true)
})

test('a folder that cannot be made says so', async () => {
  const dir = temporary()
  writeFileSync(join(dir, 'file'), '')
  await expect(openEmbedded({ dir: join(dir, 'file', 'below') })).rejects.toMatchObject({ code: 'invalid_argument' })
})

test('a crash in the middle of a write is recovered', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  await bus.publish([message('a', '1'), message('a', '2')])
  // What a killed process leaves: the file and a log that was not folded in, here with a torn end.
  const copy = join(dir, 'copy')
  mkdirSync(copy)
  writeFileSync(join(copy, 'bus.db'), readFileSync(join(dir, 'bus.db')))
  const log = readFileSync(join(dir, 'bus.db-wal'))
  writeFileSync(join(copy, 'bus.db-wal'), Buffer.concat([log, Buffer.alloc(3000, 7)]))
  const again = await engine({ dir: copy })
  expect((await again.read('a', 'start', 10)).messages.length).toBe(2)
})

test('a full disk refuses what it cannot store, keeps what it confirmed, and goes on once there is room', async ({ skip }) => {
  const dir = mountSmallDisk()
  if (!dir) return skip('mounting a small disk needs root')
  const ballast = join(dir, 'ballast')
  writeFileSync(ballast, Buffer.alloc(1024 * 1024))
  const bus = await engine({ dir })
  const health: boolean[] = []
  bus.onHealth(({ ok }) => health.push(ok))
  const confirmed: string[] = []
  let refused: string | undefined
  for (let i = 0; i < 200 && !refused; i++) {
    const one = message('a', new Uint8Array(30_000))
    const [outcome] = await bus.publish([one])
    if (outcome!.ok) confirmed.push(one.id)
    else refused = outcome!.error.code
  }
  expect(refused).toBe('store_full')
  execFileSync('rm', [ballast])
  const last = message('a', 'after')
  expect((await bus.publish([last]))[0]).toMatchObject({ ok: true })
  expect(health).toEqual([false, true])
  const page = await bus.read('a', 'start', 1000)
  expect(page.messages.map(({ id }) => id)).toEqual([...confirmed, last.id])
})

test('at its cap as much history yields as a message needs', async () => {
  const bus = await engine({ maxBytes: 100_000 })
  const hand = await joinGroup(bus, 'g', [source('a')], {}, 10_000)
  await bus.publish(Array.from({ length: 9000 }, () => message('a', new Uint8Array(10))))
  await hand.until(9000)
  await hand.settle('ack', hand.all)
  expect((await bus.publish([message('a', new Uint8Array(50_000))]))[0]).toMatchObject({ ok: true })
})

test.skipIf(!existsSync('/dev/full'))('a bell that cannot be rung for want of room ends nothing', async () => {
  const dir = temporary()
  symlinkSync('/dev/full', join(dir, 'bell'))
  const bus = await engine({ dir })
  for (const body of ['1', '2']) expect((await bus.publish([message('a', body)]))[0]).toMatchObject({ ok: true })
})

test('past its cap the store refuses, names the slowest group, and takes more once that caught up', async () => {
  const bus = await engine({ maxBytes: 10_000 })
  const hand = await joinGroup(bus, 'slow', [source('a')], {}, 0)
  const outcomes = await bus.publish(Array.from({ length: 12 }, () => message('a', new Uint8Array(1000))))
  expect(outcomes.filter(({ ok }) => ok).length).toBe(10)
  expect(outcomes[11]).toMatchObject({ ok: false, error: { code: 'store_full', message: expect.stringMatching(/slow.*'a'.*10 messages/) } })
  hand.subscription.grant(100, 1e6)
  await hand.until(10)
  expect((await bus.publish([message('a', 'x')]))[0]).toMatchObject({ ok: false })
  await hand.settle('ack', hand.all)
  expect((await bus.publish([message('a', 'x')]))[0]).toMatchObject({ ok: true })
})

test('the files lie where they are said to, and a closed store leaves no log', async () => {
  const dir = temporary()
  const bus = await openEmbedded({ dir })
  await bus.publish([message('a', '1')])
  await bus.close()
  await bus.close()
  expect([existsSync(join(dir, 'bus.db')), existsSync(join(dir, 'bus.db-wal'))]).toEqual([true, false])
})

/** Another program that takes the lock of a store and keeps it. */
function hog(dir: string): DatabaseSync {
  const other = new DatabaseSync(join(dir, 'bus.db'))
  other.exec('BEGIN IMMEDIATE')
  return other
}

test('a close ends though another process never lets go of the lock, and says what was not stored', async () => {
  const dir = temporary()
  const bus = await engine({ dir })
  const hand = await joinGroup(bus, 'g', [source('a')])
  await bus.publish([message('a', '1')])
  await hand.until(1)
  const other = hog(dir)
  const waiting = bus.publish([message('a', '2')])
  const begun = performance.now()
  await bus.close()
  expect(performance.now() - begun).toBeLessThan(15_000)
  expect(await waiting).toMatchObject([{ ok: false, error: { code: 'engine_unavailable' } }])
  other.exec('ROLLBACK')
  other.close()
  // What it held is free at once, as after a crash.
  const next = await joinGroup(await engine({ dir }), 'g', [source('a')])
  await next.until(1)
  expect(next.texts).toEqual(['1'])
}, 30_000)

test('a bus at work closes too while another process keeps the lock', async () => {
  const dir = temporary()
  const bus = await connect(`file:${dir}`, { drain: 100 })
  const got: unknown[] = []
  await bus.subscribe('a', { group: 'g' }, (message) => void got.push(message.body))
  await bus.subscribe('b', () => {})
  await bus.respond('c', { group: 'g' }, () => 'answer')
  await bus.publish('a', 1)
  await expect.poll(() => got).toEqual([1])
  const other = hog(dir)
  const waiting = expect(bus.publish('a', 2, { timeout: 1000 })).rejects.toMatchObject({ code: 'engine_unavailable' })
  await bus.close()
  await waiting
  other.close()
}, 60_000)

import { copyFileSync, existsSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { openEmbedded } from '../../src/engines/embedded/engine.ts'
import { connect } from '../../src/index.ts'
import { message, temporary } from './support.ts'

const count = 4000

/** A store larger than what is checked at open, two of whose pages of messages are damaged in the middle. */
async function damaged(): Promise<string> {
  const dir = temporary()
  const bus = await openEmbedded({ dir })
  await bus.publish(Array.from({ length: count }, (_, i) => message('a', JSON.stringify({ i, text: 'x'.repeat(2100) }))))
  await bus.close()
  const file = join(dir, 'bus.db')
  copyFileSync(file, join(dir, 'backup'))
  expect(statSync(file).size).toBeGreaterThan(8 * 1024 * 1024)
  const db = new DatabaseSync(file)
  const pages = db.prepare("SELECT pgoffset AS at FROM dbstat WHERE name='message' AND pagetype='leaf' ORDER BY path").all()
  db.close()
  const fd = openSync(file, 'r+')
  for (const i of [0, 1]) writeSync(fd, Buffer.alloc(4096, 0xab), 0, 4096, Number(pages[(pages.length >> 1) + i]!.at))
  return dir
}

test('R8: a store found corrupt at work stores nothing more, says so to whoever waits for it, and is not written on', async () => {
  const dir = await damaged()
  const bus = await connect(`file:${dir}`, { drain: 1000 })
  onTestFinished(() => bus.close())
  let handled = 0
  const work = await bus.subscribe('a', { group: 'g', concurrency: 64 }, () => void handled++)
  await expect.poll(() => work.status().trouble, { timeout: 20_000 }).toMatch(/malformed.*nothing more is written.*backup/)
  expect(handled).toBeLessThan(count)

  const health = await bus.health()
  expect(health).toMatchObject({ ok: false, detail: work.status().trouble, subscriptions: [{ group: 'g', trouble: health.detail }] })
  const files = (): Buffer[] => ['bus.db', 'bus.db-wal'].map((name) => readFileSync(join(dir, name)))
  const before = files()
  for (const topic of ['a', 'b']) await expect(bus.publish(topic, 'x')).rejects.toMatchObject({ code: 'store_corrupt' })
  await expect(bus.subscribe('a', { group: 'other' }, () => {})).rejects.toMatchObject({ code: 'store_corrupt' })
  // What can still be read is.
  expect((await bus.admin.browse('a', { limit: 10 })).messages.length).toBe(10)
  expect(files().every((bytes, i) => bytes.equals(before[i]!))).toBe(true)
  await work.close()
  expect(files().every((bytes, i) => bytes.equals(before[i]!))).toBe(true)
}, 60_000)

test('R8: a store found corrupt is refused by whoever opens it next, until it is sound again', async () => {
  const dir = await damaged()
  const bus = await connect(`file:${dir}`, { drain: 1000 })
  const work = await bus.subscribe('a', { group: 'g', concurrency: 64 }, () => {})
  await expect.poll(() => work.status().trouble, { timeout: 20_000 }).toMatch(/malformed/)
  await bus.close()
  const before = readFileSync(join(dir, 'bus.db'))
  for (let i = 0; i < 2; i++)
    await expect(connect(`file:${dir}`)).rejects.toMatchObject({ code: 'store_corrupt', message: expect.stringMatching(/pages.*backup/) })
  expect(readFileSync(join(dir, 'bus.db')).equals(before)).toBe(true)

  copyFileSync(join(dir, 'backup'), join(dir, 'bus.db'))
  for (const left of ['bus.db-wal', 'bus.db-shm']) rmSync(join(dir, left), { force: true })
  for (let i = 0; i < 2; i++) {
    const again = await connect(`file:${dir}`)
    expect((await again.admin.browse('a', { limit: 10 })).messages.length).toBe(10)
    expect(existsSync(join(dir, 'bus.db-corrupt'))).toBe(false)
    await again.close()
  }
}, 60_000)

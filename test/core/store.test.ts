import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

const dirs: string[] = []
const folder = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
  dirs.push(dir)
  return dir
}
afterAll(() => Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true }))))

test('a damaged store is a clear error and is left as it is', async () => {
  const dir = folder()
  const file = join(dir, 'bus.db')
  writeFileSync(file, 'this is no database, but something dear to its owner'.repeat(100))
  const before = readFileSync(file)
  await expect(connect(`file:${dir}`)).rejects.toMatchObject({ code: 'store_corrupt' })
  expect(readFileSync(file)).toEqual(before)
})

test("another program's database is left alone", async () => {
  const dir = folder()
  const db = new DatabaseSync(join(dir, 'bus.db'))
  db.exec('CREATE TABLE dear(x)')
  db.close()
  await expect(connect(`file:${dir}`)).rejects.toMatchObject({ code: 'store_corrupt' })
})

test('a newer store is refused', async () => {
  const dir = folder()
  await (await connect(`file:${dir}`)).close()
  const db = new DatabaseSync(join(dir, 'bus.db'))
  db.exec('PRAGMA user_version = 999')
  db.close()
  await expect(connect(`file:${dir}`)).rejects.toMatchObject({ code: 'store_newer' })
})

test('the byte cap refuses more, and loses nothing', async () => {
  await using bus = await connect('memory:', { embedded: { maxBytes: 1000 } })
  await bus.publish('a', new Uint8Array(900))
  await expect(bus.publish('a', new Uint8Array(200))).rejects.toMatchObject({ code: 'store_full' })
  expect((await bus.admin.browse('a')).messages.length).toBe(1)
})

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { openEmbedded } from '../../src/engines/embedded/engine.ts'
import { Database } from '../../src/engines/embedded/store/database.ts'
import { migrations } from '../../src/engines/embedded/store/schema.ts'
import { engine, joinGroup, message, source, temporary } from './support.ts'

const more = ['ALTER TABLE topic ADD COLUMN colour TEXT', "INSERT INTO store(name, value) VALUES('migrated', 1)"]

function look<Row>(dir: string, sql: string): Row {
  const raw = new DatabaseSync(join(dir, 'bus.db'))
  try {
    return raw.prepare(sql).get() as Row
  } finally {
    raw.close()
  }
}
const versionOf = (dir: string): number => look<{ user_version: number }>(dir, 'PRAGMA user_version').user_version

async function filled(): Promise<string> {
  const dir = temporary()
  const bus = await openEmbedded({ dir })
  await bus.publish([message('a', '1', { key: 'k' }), message('a', '2')])
  const hand = await joinGroup(bus, 'g', [source('a')], {}, 1)
  await hand.until(1)
  await hand.settle('ack', hand.all)
  await bus.close()
  return dir
}

test('an older store is brought up to date, one version after the other, and keeps what it holds', async () => {
  const dir = await filled()
  new Database(dir, [...migrations, ...more]).close()
  expect(versionOf(dir)).toBe(migrations.length + 2)
  expect(look(dir, "SELECT value FROM store WHERE name='migrated'")).toEqual({ value: 1 })
  expect(look(dir, 'SELECT count(*) AS n, max(colour) AS colour FROM topic')).toEqual({ n: 1, colour: null })
  // The next open finds nothing to do; the version of before refuses what it does not know.
  new Database(dir, [...migrations, ...more]).close()
  await expect(openEmbedded({ dir })).rejects.toMatchObject({ code: 'store_newer' })
  const raw = new DatabaseSync(join(dir, 'bus.db'))
  raw.exec(`PRAGMA user_version=${migrations.length}`)
  raw.close()
  const bus = await engine({ dir })
  const hand = await joinGroup(bus, 'g', [source('a')])
  await hand.until(1)
  expect(hand.texts).toEqual(['2'])
})

test('a store of the first version becomes one of today, and its messages, groups and ids are what they were', async () => {
  const dir = temporary()
  new Database(dir, migrations.slice(0, 1)).close()
  expect(versionOf(dir)).toBe(1)
  const raw = new DatabaseSync(join(dir, 'bus.db'))
  raw.exec(`
    INSERT INTO topic(id, name, last_seq, messages, bytes, biggest, created_at) VALUES(1, 'docs.*', 3, 3, 3, 1, 1000), (2, 'a', 0, 0, 0, 0, 1000);
    INSERT INTO store(name, value) VALUES('seq', 3), ('bytes', 3);
    INSERT INTO lanes(id, name) VALUES(1, 'docs.*');
    INSERT INTO grp(id, topic, name, filter, lanes, cursor, fence, created_at) VALUES(1, 1, 'g', NULL, 1, 1, 7, 1000);
    INSERT INTO message(seq, topic, id, at, name, key, headers, body) VALUES
      (1, 1, 'm1', 1000, 'docs.a', NULL, NULL, '1'), (2, 1, 'm2', 1000, 'docs.a', 'k', NULL, '2'), (3, 1, 'm3', 1000, 'docs.b', 'k', NULL, '3');
    UPDATE message SET body=CAST(body AS BLOB);
    INSERT INTO waiting(grp, due, seq, redelivered) VALUES(1, 0, 1, 1);
    UPDATE grp SET cursor=2;
  `)
  raw.close()
  const bus = await engine({ dir })
  expect(versionOf(dir)).toBe(migrations.length)
  const indexes = look<{ names: string }>(dir, "SELECT group_concat(name) AS names FROM sqlite_schema WHERE type='index'").names.split(',')
  expect(indexes).toEqual(expect.arrayContaining(['grp_fence', 'topic_pattern']))
  expect(indexes).not.toContain('grp_lanes')
  const hand = await joinGroup(bus, 'g', [source('docs.*')])
  await hand.until(2)
  // What waited, and what is past the place of the group; the fence goes on from where it was.
  expect(hand.all.map(({ id, name, key, redelivered }) => [id, name, key, redelivered])).toEqual([
    ['m1', 'docs.a', undefined, true],
    ['m3', 'docs.b', 'k', false],
  ])
  expect(hand.all[0]!.fence).toBeGreaterThan(7)
  expect((await bus.publish([message('docs.*', '4', { id: 'm3', name: 'docs.b' })]))[0]).toMatchObject({ ok: true, duplicate: true })
  // A name of its own that the definition holds is found by the new index.
  expect(await bus.publish([message('docs.c', '5')])).toMatchObject([{ ok: true, position: '4' }])
  expect((await bus.read('docs.*', 'start', 10)).messages.map(({ name }) => name)).toEqual(['docs.a', 'docs.a', 'docs.b', 'docs.c'])
})

test('a migration that fails leaves the store as it was', async () => {
  const dir = await filled()
  expect(() => new Database(dir, [...migrations, more[1]!, 'ALTER TABLE nothing ADD COLUMN x'])).toThrow(
    expect.objectContaining({ message: expect.stringContaining('nothing') }),
  )
  expect(versionOf(dir)).toBe(migrations.length)
  expect(look(dir, "SELECT count(*) AS n FROM store WHERE name='migrated'")).toEqual({ n: 0 })
  expect((await (await engine({ dir })).read('a', 'start', 10)).messages.length).toBe(2)
})

test('processes that open an older store at once migrate it once', async () => {
  const dir = await filled()
  // The second step would fail if it were applied twice.
  const children = [0, 1, 2].map(() =>
    fork(new URL('./migrating.ts', import.meta.url), [dir, JSON.stringify([...migrations, ...more])], { execArgv: [] }),
  )
  await Promise.all(children.map((child) => once(child, 'message')))
  const said = children.map((child) => once(child, 'message'))
  for (const child of children) child.send('go')
  expect((await Promise.all(said)).map(([text]) => text)).toEqual(['opened', 'opened', 'opened'])
  expect(versionOf(dir)).toBe(migrations.length + 2)
  expect(look(dir, "SELECT count(*) AS n FROM store WHERE name='migrated'")).toEqual({ n: 1 })
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Bus, connect } from '../src/index.ts'
import { spread } from './spread.ts'

const total = 50_000
const single = 1000
const body = new Uint8Array(256).fill(7)

interface Case {
  readonly name: string
  /** Returns messages a second. */
  readonly run: (dir: string) => Promise<number> | number
}

const rate = (messages: number, begun: number): number => (messages / (performance.now() - begun)) * 1000

function raw(dir: string, messages: number, each: number): number {
  const db = new DatabaseSync(join(dir, 'raw.db'))
  db.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE m(seq INTEGER PRIMARY KEY, topic INTEGER, id TEXT, at INTEGER, name TEXT, key TEXT, headers TEXT, body BLOB, UNIQUE(topic, id))',
  )
  const insert = db.prepare('INSERT INTO m(topic, id, at, body) VALUES(1, ?, ?, ?)')
  const begun = performance.now()
  for (let i = 0; i < messages; i += each) {
    db.exec('BEGIN IMMEDIATE')
    for (let j = 0; j < each; j++) insert.run(`01a20b7e-e1f4-7645-bba0-${String(i + j).padStart(12, '0')}`, Date.now(), body)
    db.exec('COMMIT')
  }
  const result = rate(messages, begun)
  db.close()
  return result
}

async function withBus(url: string, action: (bus: Bus) => Promise<number>): Promise<number> {
  const bus = await connect(url)
  try {
    return await action(bus)
  } finally {
    await bus.close()
  }
}

async function outstanding(bus: Bus): Promise<number> {
  const begun = performance.now()
  let sent = 0
  // A thousand publishers, each awaiting its own.
  await Promise.all(
    Array.from({ length: 1000 }, async () => {
      while (sent++ < total) await bus.publish('bench', body)
    }),
  )
  return rate(total, begun)
}

async function handled(bus: Bus): Promise<number> {
  let done = 0
  let end = (): void => {}
  const all = new Promise<void>((resolve) => {
    end = resolve
  })
  await bus.subscribe('bench', { group: 'g', concurrency: 64 }, () => {
    if (++done === total) end()
  })
  const begun = performance.now()
  void outstanding(bus)
  await all
  return rate(total, begun)
}

const cases: readonly Case[] = [
  { name: 'raw rows, transactions of 1000 (baseline)', run: (dir) => raw(dir, total, 1000) },
  { name: 'publish, 1000 outstanding, file', run: (dir) => withBus(`file:${dir}`, outstanding) },
  { name: 'raw rows, one a transaction (baseline)', run: (dir) => raw(dir, single, 1) },
  {
    name: 'publish, one at a time, file',
    run: (dir) =>
      withBus(`file:${dir}`, async (bus) => {
        const begun = performance.now()
        for (let i = 0; i < single; i++) await bus.publish('bench', body)
        return rate(single, begun)
      }),
  },
  { name: 'publish, handle, ack, file', run: (dir) => withBus(`file:${dir}`, handled) },
  { name: 'publish, handle, ack, memory', run: () => withBus('memory:', handled) },
]

/** Cases in turn, round by round, so that a slow moment of the machine falls on all of them. */
export async function embedded(rounds: number): Promise<void> {
  const results = new Map<string, number[]>()
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) {
      const dir = mkdtempSync(join(tmpdir(), 'cozebus-bench-'))
      try {
        results.set(one.name, [...(results.get(one.name) ?? []), await one.run(dir)])
      } finally {
        rmSync(dir, { recursive: true, force: true })
      }
    }
    process.stderr.write(`round ${round + 1} of ${rounds} done\n`)
  }
  console.log(`256-byte bodies; messages a second, median of ${rounds} rounds (least to most)`)
  for (const [name, rates] of results) {
    const { median, least, most } = spread(rates.map(Math.round))
    console.log(`${name.padEnd(44)} ${String(median).padStart(8)}  (${least} to ${most})`)
  }
}

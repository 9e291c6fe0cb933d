import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EngineOptions, openEngine } from '../../src/engines/registry.ts'
import { conformance } from '../../src/testing/suite.ts'
import { startKafka } from '../rig/kafka.ts'
import { startNats } from '../rig/nats.ts'
import { natsVersions } from '../rig/nats-server.ts'
import { describeKafka, describeNats, describeNsq, describePulsar, describeRocketmq } from '../rig/needs.ts'
import { startNsqd } from '../rig/nsq.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { startRocketmq } from '../rig/rocketmq.ts'

const root = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(root, 'docs', 'guarantees.md'), 'utf8')
const dir = mkdtempSync(join(tmpdir(), 'cozebus-guarantees-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** The engines of the page's table, in its order. */
const urls = { 'file:': `file:${dir}`, 'memory:': 'memory:' }

const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [/^R\d+/.exec(section)?.[0], section]),
)
const bullets = [...page.matchAll(/^- (?:`(test\/[^`]+)`: )?`([^`]+)`$/gm)].map(([, file, name]) => ({ file, name: name! }))

test('every rule has a section and a test that proves it', () => {
  const rules = Array.from({ length: 12 }, (_, i) => `R${i + 1}`)
  expect([...sections.keys()]).toEqual(rules)
  for (const section of sections.values()) expect(section).toMatch(/^- `/m)
  // Each line of a list is one that the other tests of this file look at.
  expect(bullets.length).toBe([...page.matchAll(/^- /gm)].length)
})

test('tests that are named with a file stand in it', () => {
  const missing = bullets.filter(({ file, name }) => {
    if (file === undefined) return false
    const path = join(root, file)
    return !existsSync(path) || !['test(', 'test.skipIf('].some((call) => declares(readFileSync(path, 'utf8'), call, name))
  })
  expect(missing).toEqual([])
})

function declares(source: string, call: string, name: string): boolean {
  return ["'", '"', '`'].some((quote) => source.includes(`${call}${quote}${name.replaceAll("'", quote === "'" ? "\\'" : "'")}${quote}`))
}

/** Where an engine keeps a rule in another way, which has a case of its own. */
const exceptions: Record<string, string[]> = {
  'nats:': ['R6: unconfirmed messages of one key keep their order'],
  // No memory of ids, no history, no filter of its own, no order across members, no name on a foreign message.
  'nsq:': [
    'R2: the same id again is stored once, and the receipt says so',
    'R2: engine: the same id is stored once, in one batch and from two connections, and said to be a duplicate',
    'R3: a group that begins late gets what is stored; from: new does not',
    'R3: a member with another filter is refused',
    'R6: members that share a group keep the order of a key between them, with retries, and as they come and go',
    'R6: unconfirmed messages of one key keep their order',
    "R6: order 'topic' handles one message at a time",
    'R12: a foreign message has the parameters that its name gives, and the filter sees it',
  ],
  'pulsar:': [
    'R2: the same id again is stored once, and the receipt says so',
    'R2: engine: the same id is stored once, in one batch and from two connections, and said to be a duplicate',
    'R3: a member with another filter is refused',
    'R6: unconfirmed messages of one key keep their order',
    'R12: a foreign message has the parameters that its name gives, and the filter sees it',
  ],
  'kafka:': [
    'R2: the same id again is stored once, and the receipt says so',
    'R2: engine: the same id is stored once, in one batch and from two connections, and said to be a duplicate',
    'R3: a member with another filter is refused',
    'R5: engine: an extended lease holds, and an ended one does not',
    'R7: a slow member takes no more than it can handle: another gets the rest',
    'R12: a foreign message has the parameters that its name gives, and the filter sees it',
  ],
  // No memory of ids, no filter of its own, no order of what is under way, no name on a foreign message.
  'rocketmq:': [
    'R2: the same id again is stored once, and the receipt says so',
    'R2: engine: the same id is stored once, in one batch and from two connections, and said to be a duplicate',
    'R3: a member with another filter is refused',
    'R6: unconfirmed messages of one key keep their order',
    'R12: a foreign message has the parameters that its name gives, and the filter sees it',
  ],
}

const check = (engine: string, url: () => string, options: () => EngineOptions = () => ({})): void => {
  test('the tests of the suite that are named apply to it', async () => {
    const tests = await conformance({
      name: engine,
      open: () => openEngine(url(), options()),
    })
    const applying = tests.filter(({ skip }) => skip === undefined).map(({ name }) => name)
    const named = bullets.filter(({ file, name }) => file === undefined && !applying.includes(name)).map(({ name }) => name)
    expect(named).toEqual(exceptions[engine] ?? [])
  })

  test('its column says what it declares', async () => {
    const opened = await openEngine(url(), options())
    const { capabilities } = opened
    await opened.close()
    const [header, , ...rows] = page.split('\n').filter((line) => line.startsWith('|'))
    const column = cells(header!).indexOf(`\`${engine}\``)
    let compared = 0
    for (const row of rows) {
      const name = /\(`(\w+)`\)/.exec(row)?.[1]
      if (name === undefined) continue
      const value =
        name === 'lease'
          ? capabilities.lease.maxMs === Number.POSITIVE_INFINITY
            ? 'any time'
            : capabilities.lease.maxMs
          : capabilities[name as 'ledger']
      expect([name, cells(row)[column]]).toEqual([name, String(value)])
      compared++
    }
    expect(compared).toBe(9)
  })
}

describe.each(Object.entries(urls))('%s', (engine, url) => check(engine, () => url))

await describeNats(
  'nats:',
  () => {
    let server: Awaited<ReturnType<typeof startNats>>
    beforeAll(async () => {
      server = await startNats({ version: natsVersions[0]! })
    })
    afterAll(() => server.stop())
    check('nats:', () => server.url)
  },
  natsVersions.slice(0, 1),
)

await describeNsq('nsq:', () => {
  let server: Awaited<ReturnType<typeof startNsqd>>
  beforeAll(async () => {
    server = await startNsqd()
  })
  afterAll(() => server.stop())
  check(
    'nsq:',
    () => server.url,
    () => ({ nsq: { http: [server.http] } }),
  )
})

await describeKafka('kafka:', () => {
  let broker: Awaited<ReturnType<typeof startKafka>>
  beforeAll(async () => {
    broker = await startKafka()
  }, 90_000)
  afterAll(() => broker.stop())
  check('kafka:', () => broker.url)
})

await describeRocketmq('rocketmq:', () => {
  let brokers: Awaited<ReturnType<typeof startRocketmq>>
  beforeAll(async () => {
    brokers = await startRocketmq({ extra: { timerPrecisionMs: '1000' } }) // as a stock broker
  }, 90_000)
  afterAll(() => brokers.stop())
  check('rocketmq:', () => brokers.url)
})

await describePulsar('pulsar:', () => {
  let broker: Awaited<ReturnType<typeof startPulsar>>
  beforeAll(async () => {
    broker = await startPulsar()
  }, 90_000)
  afterAll(() => broker.stop())
  check(
    'pulsar:',
    () => broker.url,
    () => ({ pulsar: { admin: broker.admin } }),
  )
})

function cells(row: string): string[] {
  return row.split('|').map((cell) => cell.trim())
}

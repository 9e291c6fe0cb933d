import parse from 'parse-prometheus-text-format'
import { expect, test, vi } from 'vitest'
import { Exposition } from '../../src/gateway/prometheus.ts'
import { BusError } from '../../src/index.ts'
import { served } from './support.ts'

const { app, bus } = await served({}, { defaults: { retry: { attempts: 1 } } })

async function scrape(): Promise<(name: string, labels?: Record<string, string>) => number | undefined> {
  const response = await app.request('/metrics')
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  const text = await response.text()
  mustBeWellFormed(text)
  const families = parse(text)
  return (name, labels = {}) => {
    const metrics = families.find((family) => family.name === name)?.metrics ?? []
    const found = metrics.find((metric) => Object.entries(labels).every(([key, value]) => metric.labels?.[key] === value))
    return found === undefined ? undefined : Number(found.value)
  }
}

/** The grammar of the text format, each line of it: the parser above forgives what a server would not. */
function mustBeWellFormed(text: string): void {
  expect(text.endsWith('\n')).toBe(true)
  const seen = new Set<string>()
  let family = ''
  for (const line of text.slice(0, -1).split('\n')) {
    const head = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line)
    if (head?.[1] === 'HELP') {
      family = head[2]!
      expect(seen, 'a family stands in one place').not.toContain(family)
      seen.add(family)
    } else if (head) expect([head[2], head[3]]).toEqual([family, family.endsWith('_total') ? 'counter' : 'gauge'])
    else {
      expect(line).toMatch(/^[a-z_]+(\{[a-z]+="([^"\\\n]|\\[\\"n])*"(,[a-z]+="([^"\\\n]|\\[\\"n])*")*\})? (-?\d+(\.\d+)?(e[+-]\d+)?|NaN)$/)
      expect(line.startsWith(family)).toBe(true)
    }
  }
}

test('counts what went through, and says how topics and groups stand', async () => {
  const empty = await scrape()
  expect([empty('cozebus_up', { engine: 'embedded' }), empty('cozebus_published_total')]).toEqual([1, undefined])
  expect(empty('process_resident_memory_bytes')).toBeGreaterThan(1_000_000)
  const work = await bus.subscribe('m.work', { group: 'g' }, async ({ body }) => {
    await new Promise((resolve) => setTimeout(resolve, 5)) // so that there is a time to count
    if (body.bad) throw new Error('bad')
  })
  await bus.publishMany('m.work', [{}, {}, { bad: true }])
  await bus.publish('m.later', {}, { delay: '1h' })
  const group = { topic: 'm.work', group: 'g' }
  await expect.poll(async () => (await scrape())('cozebus_group_dead_letters', group)).toBe(1)
  await work.close()
  await bus.publish('m.work', { waits: true })
  await bus.admin.pause('m.work', 'g')
  const got = await scrape()
  const values = (prefix: string, names: readonly string[], labels: Record<string, string>) =>
    names.map((name) => got(prefix + name, labels))
  expect(values('cozebus_', ['handled_total', 'failed_total', 'dead_lettered_total'], group)).toEqual([2, 1, 1])
  expect(values('cozebus_group_', ['lag', 'members', 'in_hand', 'dead_letters', 'paused'], group)).toEqual([1, 0, 0, 1, 1])
  expect(got('cozebus_published_total', { topic: 'm.work' })).toBe(4)
  expect(got('cozebus_topic_scheduled', { topic: 'm.later' })).toBe(1)
  expect(got('cozebus_topic_messages', { topic: 'm.work' })).toBe(4)
  expect(got('cozebus_handled_seconds_total', group)).toBeGreaterThan(0)
})

test('labels may hold what they like', () => {
  const out = new Exposition()
  const nasty = 'a "quoted" \\ back\nslash'
  out.add('x_total', 'counter', 'X', [[{ topic: nasty }, 1]])
  mustBeWellFormed(out.toString())
  expect(out.toString()).toBe('# HELP x_total X\n# TYPE x_total counter\nx_total{topic="a \\"quoted\\" \\\\ back\\nslash"} 1\n')
})

test('a scrape while the engine is away says so, instead of failing', async () => {
  const health = vi
    .spyOn(bus, 'health')
    .mockResolvedValue({ ok: false, engine: 'embedded', detail: 'the store is gone', subscriptions: [] })
  const topics = vi.spyOn(bus.admin, 'topics').mockRejectedValue(new BusError('engine_unavailable', 'the store is gone'))
  expect((await scrape())('cozebus_up')).toBe(0)
  const ready = await app.request('/readyz')
  expect([ready.status, await ready.json()]).toEqual([503, { ok: false, engine: 'embedded', detail: 'the store is gone' }])
  expect((await app.request('/healthz')).status).toBe(200)
  const refused = await app.request('/v1/topics')
  expect([refused.status, await refused.json()]).toMatchObject([503, { code: 'engine_unavailable', retryable: true }])
  health.mockRestore()
  topics.mockRestore()
  expect((await app.request('/readyz')).status).toBe(200)
})

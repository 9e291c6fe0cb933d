import type { GroupView } from '../admin/admin.ts'
import type { Bus } from '../bus.ts'
import type { TopicInfo } from '../engines/engine.ts'
import type { Counters } from './counters.ts'
import { Exposition, type Row } from './prometheus.ts'

/** What this process counted, and how topics and groups stand now. */
export async function metrics(bus: Bus, counters: Counters): Promise<string> {
  const out = new Exposition()
  const health = await bus.health()
  out.add('cozebus_up', 'gauge', 'Whether the engine answers', [[{ engine: health.engine }, health.ok ? 1 : 0]])
  counted(out, counters)
  out.add('cozebus_unconfirmed', 'gauge', 'Publishes not confirmed yet', [[{}, bus.status().unconfirmed]])
  out.add('process_resident_memory_bytes', 'gauge', 'Memory of this process', [[{}, process.memoryUsage.rss()]])
  try {
    const topics = await bus.admin.topics()
    topicGauges(out, topics)
    groupGauges(out, (await Promise.all(topics.map(({ storage }) => bus.admin.groups(storage).catch(() => [])))).flat())
  } catch {
    // A scrape while the engine is away still tells that it is: cozebus_up stands above.
  }
  return out.toString()
}

function counted(out: Exposition, counters: Counters): void {
  const byTopic = (counts: ReadonlyMap<string, number>): Row[] => [...counts].map(([topic, value]) => [{ topic }, value])
  const byGroup = (counts: ReadonlyMap<string, number>, factor = 1): Row[] =>
    [...counts].map(([key, value]) => {
      const [topic = '', group = ''] = key.split('\n')
      return [{ topic, group }, value * factor]
    })
  out.add('cozebus_published_total', 'counter', 'Messages confirmed by the engine', byTopic(counters.published))
  out.add('cozebus_handled_total', 'counter', 'Messages handled in this process', byGroup(counters.handled))
  out.add('cozebus_handled_seconds_total', 'counter', 'Time that handlers took', byGroup(counters.handledMs, 0.001))
  out.add('cozebus_failed_total', 'counter', 'Handler failures in this process', byGroup(counters.failed))
  out.add('cozebus_dead_lettered_total', 'counter', 'Messages given up on in this process', byGroup(counters.deadLettered))
  out.add('cozebus_warnings_total', 'counter', 'Warnings of the bus in this process', [[{}, counters.warnings]])
}

function topicGauges(out: Exposition, topics: readonly TopicInfo[]): void {
  const of = (pick: (info: TopicInfo) => number): Row[] => topics.map((info) => [{ topic: info.storage }, pick(info)])
  const gauge = (name: string, help: string, pick: (info: TopicInfo) => number): void =>
    out.add(`cozebus_topic_${name}`, 'gauge', help, of(pick))
  gauge('messages', 'Messages stored', ({ messages }) => messages)
  gauge('bytes', 'Bytes of the bodies stored', ({ bytes }) => bytes)
  gauge('scheduled', 'Messages that wait for their time', ({ scheduled }) => scheduled)
}

function groupGauges(out: Exposition, groups: readonly GroupView[]): void {
  const gauge = (name: string, help: string, pick: (view: GroupView) => number): void =>
    out.add(
      `cozebus_group_${name}`,
      'gauge',
      help,
      groups.map((view) => [{ topic: view.storage, group: view.group }, pick(view)]),
    )
  gauge('lag', 'Messages a group has not settled', ({ lag }) => lag)
  gauge('in_hand', 'Messages in the hands of members', ({ inHand }) => inHand)
  gauge('waiting', 'Messages that wait for their time or their key', ({ waiting }) => waiting)
  gauge('members', 'Members of a group', ({ members }) => members)
  gauge('dead_letters', 'Dead letters of a group', ({ deadLetters }) => deadLetters)
  gauge('oldest_seconds', 'Age of the oldest message not settled', ({ oldestMs }) => (oldestMs ?? 0) / 1000)
  gauge('paused', 'Whether a group is paused', ({ paused }) => (paused ? 1 : 0))
}

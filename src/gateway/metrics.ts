import type { Bus } from '../bus.ts'
import { channels } from '../observe/events.ts'

const counters = { handled: 0, failed: 0, deadLettered: 0, published: 0 }
let listening = false

/** Counts from the first call on; a process without metrics pays nothing. */
export function startMetrics(): void {
  if (listening) return
  listening = true
  channels.handled.subscribe(() => void counters.handled++)
  channels.failed.subscribe(() => void counters.failed++)
  channels.deadLettered.subscribe(() => void counters.deadLettered++)
  channels.published.subscribe((event) => {
    counters.published += (event as { messages: number }).messages
  })
}

/** Prometheus text format 0.0.4. */
export async function metrics(bus: Bus): Promise<string> {
  const lines: string[] = []
  const add = (name: string, type: string, help: string, rows: readonly [string, number][]): void => {
    lines.push(
      `# HELP cozebus_${name} ${help}`,
      `# TYPE cozebus_${name} ${type}`,
      ...rows.map(([labels, value]) => `cozebus_${name}${labels} ${value}`),
    )
  }
  add('published_total', 'counter', 'Messages confirmed by the engine', [['', counters.published]])
  add('handled_total', 'counter', 'Messages handled in this process', [['', counters.handled]])
  add('failed_total', 'counter', 'Handler failures in this process', [['', counters.failed]])
  add('dead_lettered_total', 'counter', 'Messages given up on in this process', [['', counters.deadLettered]])
  const topics = await bus.admin.topics()
  add(
    'topic_messages',
    'gauge',
    'Messages stored',
    topics.map(({ storage, messages }) => [`{topic="${storage}"}`, messages]),
  )
  const groups = (await Promise.all(topics.map(({ storage }) => bus.admin.groups(storage)))).flat()
  const of = (pick: (group: (typeof groups)[number]) => number): [string, number][] =>
    groups.map((group) => [`{topic="${group.storage}",group="${group.group}"}`, pick(group)])
  add(
    'group_lag',
    'gauge',
    'Messages a group has not settled',
    of(({ lag }) => lag),
  )
  add(
    'group_dead_letters',
    'gauge',
    'Dead letters of a group',
    of(({ deadLetters }) => deadLetters),
  )
  add('unconfirmed', 'gauge', 'Publishes not confirmed yet', [['', bus.status().unconfirmed]])
  return `${lines.join('\n')}\n`
}

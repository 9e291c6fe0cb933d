import type { Finding } from './engine.ts'

const backlogMessages = 10_000
/** Those that wait the longest are named, and how many more there are. */
const mostNamed = 20

/** Something that holds messages, and what is wrong with it. */
export interface Queue extends Finding {
  /** Messages. */
  readonly held: number
}

/** What a doctor says of a group's messages; nothing while somebody comes for them in time. */
export function examineQueue(what: string, held: number, members: number): Queue[] {
  const say = (detail: string, advice: string): Queue[] => [
    { check: 'group', level: 'warning', detail: `${what}: ${held} messages wait${detail}`, advice, held },
  ]
  if (held > 0 && members === 0) return say(', and no member is there', 'start one; delete the group where none will come')
  if (held > backlogMessages) return say('', 'more members, or a higher concurrency')
  return []
}

export function longest(queues: Queue[], where: string): Finding[] {
  queues.sort((a, b) => b.held - a.held)
  const named = queues.slice(0, mostNamed).map(({ held: _, ...finding }): Finding => finding)
  if (queues.length > mostNamed)
    named.push({ check: 'group', level: 'warning', detail: `${where}: ${queues.length - mostNamed} more like these` })
  return named
}

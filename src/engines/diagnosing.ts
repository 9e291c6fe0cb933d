import { BusError, toBusError } from '../errors.ts'
import type { Finding } from './engine.ts'

const backlogMessages = 10_000
/** Those that wait the longest are named, and how many more there are. */
const mostNamed = 20

/** So many topics of which the same is to be said are named. */
const mostTopics = 3

/** Longer than a part takes while all answer; with a broker away each question of it may wait. */
const sectionMs = 20_000

/** One part after the other; one that fails, mostly for want of a right, leaves the others to go on. */
export async function inSections(sections: readonly (() => Finding[] | Promise<Finding[]>)[]): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const section of sections) {
    try {
      findings.push(...(await inTime(section())))
    } catch (error) {
      findings.push({ check: 'doctor', level: 'note', detail: `could not look further: ${toBusError(error).message}` })
    }
  }
  return findings
}

async function inTime<T>(section: T | Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const why = new BusError('engine_unavailable', `no answer within ${sectionMs / 1000} s`)
  const timer = setTimeout(() => reject(why), sectionMs)
  try {
    return await Promise.race([section, late])
  } finally {
    clearTimeout(timer)
  }
}

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

/** What is to be said of a topic. */
export interface Said extends Finding {
  readonly topic: string
}

/** The same is said once of all topics that it is true of. */
export function byTopic(said: readonly Said[]): Finding[] {
  return [...Map.groupBy(said, ({ level, detail, advice }) => `${level} ${detail} ${advice}`).values()].map((same) => {
    const { topic: _, ...finding } = same[0]!
    const named = same.slice(0, mostTopics).map(({ topic }) => topic)
    const more = same.length > mostTopics ? ` and ${same.length - mostTopics} more` : ''
    return { ...finding, detail: `${named.join(', ')}${more}: ${finding.detail}` }
  })
}

/** For people: days, or seconds where it is less than one. */
export function spanOf(ms: number): string {
  const days = ms / 86_400_000
  return days >= 1 ? `${Math.round(days * 10) / 10} days` : `${Math.round(ms / 1000)} s`
}

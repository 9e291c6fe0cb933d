import { BusError, toBusError } from '../errors.ts'
import { inTime } from '../within.ts'
import { each } from './each.ts'
import type { Finding, GroupInfo, StorageName } from './engine.ts'

const backlogMessages = 10_000
/** Those that wait the longest are named, and how many more there are. */
const mostNamed = 20

/** Topics that are asked about at once. */
export const together = 8
/** So many topics of which the same is to be said are named. */
const mostTopics = 3

/** Longer than a part takes while all answer; with a broker away each question of it may wait. */
const sectionMs = 20_000

const late = (): BusError => new BusError('engine_unavailable', `no answer within ${sectionMs / 1000} s`)

/** One part after the other; one that fails, mostly for want of a right, leaves the others to go on. */
export async function inSections(sections: readonly (() => Finding[] | Promise<Finding[]>)[]): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const section of sections) {
    try {
      findings.push(...(await inTime(sectionMs, (async () => section())(), late)))
    } catch (error) {
      findings.push({ check: 'doctor', level: 'note', detail: `could not look further: ${toBusError(error).message}` })
    }
  }
  return findings
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

/** What is to be said of the groups of these topics. */
export async function examineGroups(
  storages: Iterable<StorageName>,
  groups: (storage: StorageName) => Promise<readonly GroupInfo[]>,
): Promise<Finding[]> {
  const found = (await each([...storages], together, groups)).flat()
  const queues = found.flatMap(({ storage, group, lag, members }) => examineQueue(`${group} on ${storage}`, lag, members))
  return longest(queues, 'groups')
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

import type { DeadLetterView, StoredView } from '../../src/index.ts'
import { inOrder, nothingChanged, nothingLost, type Violation } from '../../src/testing/checkers.ts'
import { History } from '../../src/testing/history.ts'
import type { Line } from './journal.ts'
import { group, type Kind, kindOf, limits } from './work.ts'

/** How the store stands when everything has come to rest. */
export interface Rest {
  readonly stored: readonly Pick<StoredView, 'id' | 'key'>[]
  readonly dead: readonly DeadLetterView[]
  readonly lag: number
  /** Whether an id that is sent twice is stored once. */
  readonly dedupes: boolean
  /** From when to when the broker was being struck, where it may forget what it was told in its last moments. */
  readonly forgot: readonly (readonly [from: number, to: number])[]
  /** Whether it gave what somebody was at work on to another then. */
  readonly losesLeases: boolean
  /** Whether what fails goes on as a copy: a death between that and the end of the original leaves both. */
  readonly copiesRetries: boolean
  /** Whether nobody keeps an order across members. */
  readonly unordered: boolean
  /** Whether nobody may ever know of a publish if it is stored. */
  readonly unanswered: boolean
}

/** A repeat of finished work or an overlap is somebody's death or pause at most this long before: an acknowledgement on its way takes that long. */
const blameMs = 10_000
/** The outcome of a run is on disk after this at the latest. */
const recordMs = 500

type Begin = Line & { what: 'begin' }

/** The history as the suite's checkers read it: what is stored counts as published, in the order of the store. */
function asHistory(lines: readonly Line[], rest: Rest): History {
  const history = new History()
  const dead = new Set(rest.dead.map(({ messageId }) => messageId))
  const sent = new Map(lines.filter((line) => line.what === 'try').map((line) => [line.id, line]))
  const known = new Set<string>()
  for (const { id, key } of rest.stored) {
    if (known.has(id)) continue
    known.add(id)
    history.add({ kind: 'invoke', id, key, topic: '', digest: sent.get(id)?.digest ?? 'never sent' })
    history.add({ kind: 'ok', id, duplicate: false })
  }
  // A confirmed message that is not in the store at all.
  for (const line of lines) if (line.what === 'ok') history.add({ kind: 'ok', id: line.id, duplicate: line.duplicate })
  for (const line of lines) {
    if (line.what === 'begin') history.add({ kind: 'deliver', ...line, group, member: line.who })
    // One that was given up had its turn, whoever else finishes it on a lost lease.
    else if (line.what === 'done' && !dead.has(line.id)) history.add({ kind: 'settle', id: line.id, group, member: line.who, how: 'ack' })
  }
  return history
}

const isForgotten = (at: number, forgot: Rest['forgot']): boolean => forgot.some(([from, to]) => from <= at && at <= to)

/** When processes died, were paused, or left, by name. */
function troubles(lines: readonly Line[]): Map<string, number[]> {
  const times = new Map<string, number[]>()
  for (const { who, what, at } of lines)
    if (what === 'kill' || what === 'pause' || what === 'leave') times.set(who, [...(times.get(who) ?? []), at])
  return times
}

/** Whoever wrote it died, was paused or left about then. */
const isBlamed = ({ who, at }: Line, trouble: ReadonlyMap<string, readonly number[]>): boolean =>
  trouble.get(who)?.some((time) => Math.abs(time - at) < blameMs) === true

/**
 * Two of a key at once: only after a pause longer than a lease, and the later owner has the higher fence. Whoever is paused
 * with the store's lock in hand costs all the others their leases too.
 */
function overlaps(lines: readonly Line[]): { found: Violation[]; excused: number } {
  const found: Violation[] = []
  let excused = 0
  const running = new Map<string, Map<string, Begin>>()
  let pausedAt = 0
  for (const line of lines) {
    if (line.what === 'pause') pausedAt = line.at
    // A dead process handles nothing, and what it wrote between its sentence and its death is its own.
    if (line.what === 'kill' || line.what === 'gone')
      for (const runs of running.values()) for (const [run, { who }] of runs) if (who === line.who) runs.delete(run)
    if (line.what === 'done' || line.what === 'fail') for (const runs of running.values()) runs.delete(`${line.who}/${line.id}`)
    if (line.what !== 'begin' || line.key === undefined) continue
    const runs = running.get(line.key) ?? new Map<string, Begin>()
    running.set(line.key, runs)
    for (const other of runs.values()) {
      if (other.fence !== line.fence && line.at - pausedAt < blameMs) excused++
      else
        found.push({
          rule: 'R6',
          text: `key ${line.key}: ${other.who} had ${other.id} (fence ${other.fence}, since ${line.at - other.at} ms) when ${line.who} began ${line.id} (fence ${line.fence})`,
        })
    }
    runs.set(`${line.who}/${line.id}`, line)
  }
  return { found, excused }
}

/**
 * Finished twice: only where who finished it first died, left or was paused before its acknowledgement was through, or the broker
 * died with it.
 */
function repeats(
  lines: readonly Line[],
  twice: ReadonlySet<string>,
  { forgot, losesLeases }: Rest,
): { found: Violation[]; excused: number } {
  const found: Violation[] = []
  let excused = 0
  const trouble = troubles(lines)
  const done = new Map<string, Line[]>()
  const begun = new Map<string, number>()
  const wasTaken = ({ who, at }: Line, id: string): boolean =>
    losesLeases && forgot.some(([from, to]) => begun.get(`${who}/${id}`)! <= to && from <= at)
  for (const line of lines) {
    // The first: it may have it again, and the first run is on still.
    if (line.what === 'begin' && !begun.has(`${line.who}/${line.id}`)) begun.set(`${line.who}/${line.id}`, line.at)
    if (line.what !== 'done' || twice.has(line.id)) continue
    const before = done.get(line.id)
    if (!before) done.set(line.id, [line])
    else {
      const blamed = [...before, line].some((run) => isBlamed(run, trouble))
      const taken = [...before, line].some((run) => wasTaken(run, line.id))
      if (blamed || taken || before.some(({ at }) => isForgotten(at, forgot))) excused++
      else found.push({ rule: 'R3', text: `${line.id} was finished by ${before[0]!.who} and again by ${line.who}, and nobody died` })
      before.push(line)
    }
  }
  return { found, excused }
}

/** Attempts never go back, none is invented, and the limits are what was asked for. */
function attempts(lines: readonly Line[], rest: Rest): Violation[] {
  const found: Violation[] = []
  const seen = new Map<string, { attempt: number; fence: number; fails: number; begins: number }>()
  let pausedAt = 0
  const trouble = troubles(lines)
  /** There twice: the one knows nothing of the other, and what ends with the one begins anew with the other. */
  const copied = new Set<string>()
  /** How often the end of each may not have reached the broker: it comes again then, with nothing on record. */
  const unburied = new Map<string, number>()
  for (const line of lines) {
    if (line.what === 'pause') pausedAt = line.at
    if (line.what === 'fail' && rest.copiesRetries && (isForgotten(line.at, rest.forgot) || isBlamed(line, trouble))) copied.add(line.id)
    if (line.what === 'fail') seen.get(line.id)!.fails++
    if (line.what === 'buried' && (isForgotten(line.at, rest.forgot) || isBlamed(line, trouble)))
      unburied.set(line.id, (unburied.get(line.id) ?? 0) + 1)
    // Done with, its attempts are gone: where the broker has forgotten that it is, it begins anew.
    const ended = line.what === 'done' || (line.what === 'fail' && seen.get(line.id)!.attempt >= limits.attempts)
    if (ended && isForgotten(line.at, rest.forgot)) seen.get(line.id)!.attempt = 1
    if (line.what !== 'begin') continue
    const before = seen.get(line.id) ?? { attempt: 1, fence: 0, fails: 0, begins: 0 }
    // A run under an older fence is one of a paused process that does not know yet; it may also have written its count late.
    if (line.fence >= before.fence) {
      if (line.attempt < before.attempt && line.at - pausedAt > blameMs && !copied.has(line.id))
        found.push({ rule: 'R4', text: `${line.id} went from attempt ${before.attempt} back to ${line.attempt}` })
      if (line.attempt - 1 > before.fails)
        found.push({ rule: 'R4', text: `${line.id}: attempt ${line.attempt} after ${before.fails} failures` })
    }
    seen.set(line.id, {
      ...before,
      attempt: Math.max(line.attempt, before.attempt),
      fence: Math.max(line.fence, before.fence),
      begins: before.begins + 1,
    })
  }
  const dead = new Map(rest.dead.map((letter) => [letter.messageId, letter]))
  const deaths = deathsDuring(lines)
  for (const { id } of rest.stored) {
    const kind = kindOf(id)
    const letter = dead.get(id)
    const died = deaths.get(id) ?? 0
    const bystander = letter?.crashes === limits.crashes && died >= limits.crashes - 1
    if (kind === 'poison' && letter?.attempts !== limits.attempts && !bystander)
      found.push({
        rule: 'R4',
        text: `${id} fails always and ${letter ? `was given up after ${letter.attempts} failures` : 'is no dead letter'}`,
      })
    if (kind === 'killer' && letter?.crashes !== limits.crashes)
      found.push({
        rule: 'R4',
        text: `${id} kills always and ${letter ? `was given up after ${letter.crashes} crashes` : 'is no dead letter'}`,
      })
    // What takes longer than a lease is a bystander of many deaths here; nothing else may be. A death between the note that a
    // run starts and its first line counts, and is seen by nobody.
    if (kind !== 'poison' && kind !== 'killer' && letter && !bystander)
      found.push({
        rule: 'R4',
        text: `${id} became a dead letter: ${letter.attempts} attempts, ${letter.crashes} crashes, ${letter.error}`,
      })
    // The first death is not counted where the run was the first; near a pause a late write of the old owner may hide one.
    const most = (limits.crashes + (pausedAt === 0 ? 1 : 3)) * (1 + (unburied.get(id) ?? 0))
    if (kind === 'killer' && (died < limits.crashes - 1 || died > most))
      found.push({ rule: 'R4', text: `${id} was given up after ${died} deaths` })
  }
  if (dead.size !== rest.dead.length) found.push({ rule: 'R10', text: 'a message has two dead letters' })
  return found
}

/** How often a run of each message ended in the death of its process, or in the loss of its lease, which looks the same to the next owner. */
function deathsDuring(lines: readonly Line[]): Map<string, number> {
  const deaths = new Map<string, number>()
  const running = new Map<string, Set<string>>()
  const ended = new Map<string, { id: string; at: number }[]>()
  /** A busy machine notices a death long after it. */
  const killedAt = new Map<string, number>()
  for (const line of lines) {
    if (line.what === 'kill' && !killedAt.has(line.who)) killedAt.set(line.who, line.at)
    if (line.what === 'begin') {
      for (const [who, ids] of running) if (who !== line.who && ids.delete(line.id)) deaths.set(line.id, (deaths.get(line.id) ?? 0) + 1)
      running.set(line.who, (running.get(line.who) ?? new Set()).add(line.id))
    } else if (line.what === 'done' || line.what === 'fail') {
      running.get(line.who)?.delete(line.id)
      ended.set(line.who, [...(ended.get(line.who) ?? []).filter(({ at }) => line.at - at < recordMs), line])
    } else if (line.what === 'gone') {
      // What ended just before may not have been written down yet: it counts as on, too.
      const diedAt = killedAt.get(line.who) ?? line.at
      const late = (ended.get(line.who) ?? []).filter(({ at }) => diedAt - at < recordMs).map(({ id }) => id)
      for (const id of new Set([...(running.get(line.who) ?? []), ...late])) deaths.set(id, (deaths.get(id) ?? 0) + 1)
      running.delete(line.who)
    }
  }
  return deaths
}

function onTime(lines: readonly Line[]): Violation[] {
  const due = new Map<string, number>()
  for (const line of lines) if (line.what === 'try' && line.delay > 0 && !due.has(line.id)) due.set(line.id, line.at + line.delay)
  for (const line of lines)
    if (line.what === 'begin' && line.at < (due.get(line.id) ?? 0))
      return [{ rule: 'delay', text: `${line.id} came ${due.get(line.id)! - line.at} ms too early` }]
  return []
}

export interface Verdict {
  readonly violations: Violation[]
  readonly confirmed: number
  readonly stored: number
  readonly handled: number
  readonly retries: number
  /** Finished again after a death or a pause; beside it the messages that were sent again and stored once. */
  readonly duplicates: number
  readonly resent: number
  readonly dead: { readonly poison: number; readonly killer: number; readonly bystander: number }
  readonly inversions: number
  /** Two of a key at once after a lost lease, told by the fence. */
  readonly lostLeases: number
}

export function judge(lines: readonly Line[], rest: Rest): Verdict {
  const history = asHistory(lines, rest)
  const ids = rest.stored.map(({ id }) => id)
  const storedTwice = new Set(ids.filter((id, i) => ids.indexOf(id) !== i))
  const deadIds = new Set(rest.dead.map(({ messageId }) => messageId))
  const order = rest.unordered ? [] : inOrder(history, [group])
  const twice = rest.unordered ? { found: [], excused: 0 } : overlaps(lines)
  const again = repeats(lines, storedTwice, rest)
  const count = (kind: Kind): number => rest.dead.filter(({ messageId }) => kindOf(messageId) === kind).length
  const violations = [
    ...nothingLost(history, [group], deadIds),
    ...nothingChanged(history),
    ...order,
    ...twice.found,
    ...again.found,
    ...attempts(lines, rest),
    ...onTime(lines),
  ]
  if (rest.dedupes && storedTwice.size > 0) violations.push({ rule: 'R2', text: 'an id is stored twice' })
  if (rest.lag > 0) violations.push({ rule: 'R3', text: `${rest.lag} messages are neither acknowledged nor dead letters` })
  for (const line of lines)
    if (line.what === 'refused' && !(rest.unanswered && line.unknown))
      violations.push({ rule: 'R1', text: `${line.id} was refused: ${line.error}` })
  return {
    violations,
    confirmed: new Set(lines.filter((line) => line.what === 'ok').map((line) => line.id)).size,
    stored: rest.stored.length,
    handled: history.acknowledged(group).size,
    retries: lines.filter((line) => line.what === 'fail').length,
    duplicates: again.excused,
    resent: lines.filter((line) => line.what === 'ok' && line.duplicate).length,
    dead: {
      poison: count('poison'),
      killer: count('killer'),
      bystander: rest.dead.length - count('poison') - count('killer'),
    },
    inversions: order.length,
    lostLeases: twice.excused,
  }
}

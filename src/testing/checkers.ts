import type { History } from './history.ts'

/** A rule that a history breaks, by the rule's number in docs/guarantees.md. */
export interface Violation {
  readonly rule: string
  readonly text: string
}

/** Every group acknowledged everything confirmed, except what is known to lie in its dead letters. */
export function nothingLost(history: History, groups: readonly string[], deadLetters: ReadonlySet<string> = new Set()): Violation[] {
  const found: Violation[] = []
  for (const group of groups) {
    const done = history.acknowledged(group)
    const lost = history.entries.filter((entry) => entry.kind === 'ok' && !done.has(entry.id) && !deadLetters.has(entry.id))
    if (lost.length > 0)
      found.push({
        rule: 'R3',
        text: `group ${group} never finished ${lost.length} confirmed messages, the first is ${(lost[0] as { id: string }).id}`,
      })
  }
  return found
}

/** What arrives is what was sent: bytes, headers, key. */
export function nothingChanged(history: History): Violation[] {
  const sent = new Map<string, { digest: string; key: string | undefined }>()
  for (const entry of history.entries) if (entry.kind === 'invoke') sent.set(entry.id, entry)
  for (const entry of history.entries) {
    if (entry.kind !== 'deliver') continue
    const original = sent.get(entry.id)
    if (!original) return [{ rule: 'R2', text: `a message with the id ${entry.id} was delivered and none was published under it` }]
    if (original.digest !== entry.digest)
      return [
        {
          rule: 'R12',
          text: `message ${entry.id} arrived with other headers or bytes: ${entry.digest.slice(0, 120)} instead of ${original.digest.slice(0, 120)}`,
        },
      ]
    if (original.key !== entry.key)
      return [{ rule: 'R6', text: `message ${entry.id} arrived with the key ${entry.key} instead of ${original.key}` }]
  }
  return []
}

/** One handler a key at a time in each group; a run whose lease was lost (it was aborted) may overlap its successor. */
export function oneAtATime(history: History): Violation[] {
  const running = new Map<string, { id: string; member: string }>()
  const aborted = abortedRuns(history)
  for (const entry of history.entries) {
    if (entry.kind === 'deliver' && entry.key !== undefined) {
      if (aborted.has(entry.n)) continue
      const lane = `${entry.group}/${entry.key}`
      const other = running.get(lane)
      if (other !== undefined)
        return [{ rule: 'R6', text: `group ${entry.group} handled ${other.id} and ${entry.id} of key ${entry.key} at once` }]
      running.set(lane, entry)
    } else if (entry.kind === 'settle') {
      for (const [lane, run] of running)
        if (run.id === entry.id && run.member === entry.member && lane.startsWith(`${entry.group}/`)) running.delete(lane)
    }
  }
  return []
}

/** The places of deliveries whose run ended aborted, or never ended before a restart. */
function abortedRuns(history: History): Set<number> {
  const open = new Map<string, number>()
  const aborted = new Set<number>()
  for (const entry of history.entries) {
    if (entry.kind === 'deliver') open.set(`${entry.group}/${entry.member}/${entry.id}`, entry.n)
    else if (entry.kind === 'settle') {
      const run = `${entry.group}/${entry.member}/${entry.id}`
      if (entry.how === 'aborted') aborted.add(open.get(run)!)
      open.delete(run)
    } else if (entry.kind === 'restart') for (const n of open.values()) aborted.add(n)
  }
  return aborted
}

/** First completions of a key come in the order of publishing. */
export function inOrder(history: History, groups: readonly string[]): Violation[] {
  const place = new Map<string, { key: string; n: number }>()
  for (const entry of history.entries)
    if (entry.kind === 'invoke' && entry.key !== undefined) place.set(entry.id, { key: entry.key, n: entry.n })
  for (const group of groups) {
    const last = new Map<string, { id: string; n: number }>()
    const done = new Set<string>()
    for (const entry of history.entries) {
      if (entry.kind !== 'settle' || entry.how !== 'ack' || entry.group !== group || done.has(entry.id)) continue
      done.add(entry.id)
      const own = place.get(entry.id)
      if (!own) continue
      const before = last.get(own.key)
      if (before && before.n > own.n)
        return [
          { rule: 'R6', text: `group ${group} finished ${before.id} of key ${own.key} before ${entry.id}, which was published earlier` },
        ]
      last.set(own.key, { id: entry.id, n: own.n })
    }
  }
  return []
}

/** Nothing is handled again once it was acknowledged, unless something was restarted. */
export function notRepeated(history: History): Violation[] {
  if (history.count('restart') > 0) return []
  const done = new Set<string>()
  for (const entry of history.entries) {
    if (entry.kind === 'settle' && entry.how === 'ack') done.add(`${entry.group}/${entry.id}`)
    if (entry.kind === 'deliver' && done.has(`${entry.group}/${entry.id}`))
      return [{ rule: 'R3', text: `group ${entry.group} got ${entry.id} again after it had acknowledged it` }]
  }
  return []
}

/**
 * An attempt is counted for each run that failed, and for nothing else: not for a drain, nor for a lease that was lost.
 * `exact`: no failure is forgotten either. One that is being written when the broker takes the message away, or dies with the
 * ledger, may be: whoever has the message next reads its state too early.
 */
export function attemptsCounted(history: History, exact: boolean): Violation[] {
  const failures = new Map<string, number>()
  for (const entry of history.entries) {
    if (entry.kind !== 'deliver' && entry.kind !== 'settle') continue
    const message = `${entry.group}/${entry.id}`
    const before = failures.get(message) ?? 0
    if (entry.kind === 'settle') {
      if (entry.how === 'fail') failures.set(message, before + 1)
    } else if (entry.attempt > before + 1 || (exact && entry.attempt <= before))
      return [
        {
          rule: 'R4',
          text: `group ${entry.group} got ${entry.id} as attempt ${entry.attempt}, after ${before} failures: ${story(history, entry.group, entry.id)}`,
        },
      ]
  }
  return []
}

/** Who was told that nothing was stored may publish it again: then it would be there twice. */
export function nothingRefusedDelivered(history: History): Violation[] {
  const refused = new Set(history.entries.flatMap((entry) => (entry.kind === 'fail' ? [entry.id] : [])))
  const entry = history.entries.find((one) => one.kind === 'deliver' && refused.has(one.id))
  return entry?.kind === 'deliver' ? [{ rule: 'R1', text: `message ${entry.id} was delivered, and its publish was refused` }] : []
}

/** No handler is called once its member has closed. */
export function nothingAfterLeaving(history: History): Violation[] {
  const gone = new Set<string>()
  for (const entry of history.entries) {
    if (entry.kind === 'leave') gone.add(entry.member)
    if (entry.kind === 'deliver' && gone.has(entry.member))
      return [{ rule: 'R9', text: `member ${entry.member} had closed, and was handed ${entry.id}` }]
  }
  return []
}

/** What is to wait is not delivered before its time. */
export function nothingEarly(history: History): Violation[] {
  const times = new Map(history.entries.flatMap((entry) => (entry.kind === 'invoke' ? [[entry.id, entry.notBefore ?? 0] as const] : [])))
  for (const entry of history.entries)
    if (entry.kind === 'deliver' && entry.at < (times.get(entry.id) ?? 0))
      return [{ rule: 'R1', text: `message ${entry.id} came ${times.get(entry.id)! - entry.at} ms before its time` }]
  return []
}

/** What became of a message in a group, in order, in a line. */
function story(history: History, group: string, id: string): string {
  return history.entries
    .flatMap((entry) => {
      if (entry.kind === 'restart' || entry.kind === 'leave') return [entry.kind === 'restart' ? 'restart' : `${entry.member} left`]
      if (entry.id !== id || ('group' in entry && entry.group !== group)) return []
      if (entry.kind === 'deliver') return [`${entry.member} begins attempt ${entry.attempt}`]
      return [entry.kind === 'settle' ? `${entry.member}: ${entry.how}` : entry.kind]
    })
    .join(', ')
}

/** Throws with every rule that is broken. */
export function report(violations: readonly Violation[], seed?: number): void {
  if (violations.length === 0) return
  throw new Error(`${violations.map(({ rule, text }) => `${rule}: ${text}`).join('\n')}${seed === undefined ? '' : `\n(seed ${seed})`}`)
}

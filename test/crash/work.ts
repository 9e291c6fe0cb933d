import { createHash } from 'node:crypto'
import type { Message, SubscribeOptions } from '../../src/index.ts'
import { digest as whole } from '../../src/testing/history.ts'
import type { Random } from '../../src/testing/random.ts'

export const topic = 'crash'
export const group = 'g'
export const leaseMs = 2000
export const limits = { attempts: 4, crashes: 3 }
export const options: SubscribeOptions & { group: string } = {
  group,
  order: 'key',
  concurrency: 4,
  lease: leaseMs,
  retry: { ...limits, initial: 20, factor: 2, max: 200 },
}

/**
 * `plain` and `late` (published with a delay) have no key. `flaky` fails twice, `poison` always, `killer` takes its process
 * along each time, `slow` takes longer than a lease.
 */
export type Kind = 'plain' | 'late' | 'keyed' | 'flaky' | 'poison' | 'killer' | 'slow'
export interface Body {
  readonly kind: Kind
  readonly workMs: number
  readonly text: string
}
export interface Job {
  readonly id: string
  readonly key: string | undefined
  readonly delay: number
  readonly headers: Record<string, string>
  readonly body: Body
}

const kinds: readonly (readonly [Kind, number])[] = [
  ['keyed', 0.7],
  ['plain', 0.83],
  ['flaky', 0.92],
  ['late', 0.97],
  ['poison', 0.998],
  ['slow', 1],
]

/** The n-th message of a publisher: the same again from the same source of numbers. Each tells its kind in its id. */
export function job(publisher: string, n: number, random: Random): Job {
  const draw = random.next()
  const kind = n % 200 === 40 ? 'killer' : kinds.find(([, upTo]) => draw < upTo)![0]
  const key = `k${random.below(12)}`
  const workMs = kind === 'slow' ? leaseMs + 500 : random.below(4)
  const text = 'ü'.repeat(random.below(random.chance(0.02) ? 20_000 : 200))
  const delay = 50 + random.below(600)
  return {
    id: `${kind}-${publisher}-${n}`,
    key: kind === 'plain' || kind === 'late' ? undefined : key,
    delay: kind === 'late' ? delay : 0,
    headers: { 'x-n': String(n) },
    body: { kind, workMs, text },
  }
}

export function kindOf(id: string): Kind {
  return id.slice(0, id.indexOf('-')) as Kind
}

function hash(headers: Readonly<Record<string, string>>, bytes: Uint8Array): string {
  return createHash('sha1').update(whole(headers, bytes)).digest('base64url')
}

export function digestOfJob({ headers, body }: Job): string {
  return hash(headers, Buffer.from(JSON.stringify(body)))
}

export function digestOfMessage({ headers, bytes }: Message): string {
  return hash(headers, bytes)
}

import type { Message } from '../deliver/message.ts'

/** One thing that happened, in the order of `n`. */
export type Entry =
  | {
      readonly n: number
      readonly kind: 'invoke'
      readonly id: string
      readonly key: string | undefined
      readonly topic: string
      readonly digest: string
      /** Of one that is to wait: when it may be delivered, ms since the epoch. */
      readonly notBefore?: number | undefined
    }
  | { readonly n: number; readonly kind: 'ok'; readonly id: string; readonly duplicate: boolean }
  | { readonly n: number; readonly kind: 'fail' | 'unknown'; readonly id: string; readonly error: string }
  | {
      readonly n: number
      readonly kind: 'deliver'
      readonly id: string
      readonly key: string | undefined
      readonly group: string
      readonly member: string
      readonly attempt: number
      /** Ms since the epoch. */
      readonly at: number
      readonly digest: string
    }
  | {
      readonly n: number
      readonly kind: 'settle'
      readonly id: string
      readonly group: string
      readonly member: string
      readonly how: 'ack' | 'fail' | 'aborted'
    }
  /** The member has closed, and its close is over. */
  | { readonly n: number; readonly kind: 'leave'; readonly member: string }
  | { readonly n: number; readonly kind: 'restart'; readonly what: string }

type Open<T> = T extends unknown ? Omit<T, 'n'> : never

/** What one run of a workload did, all members and publishers together; checkers read it. */
export class History {
  readonly entries: Entry[] = []

  add(entry: Open<Entry>): void {
    this.entries.push({ n: this.entries.length, ...entry } as Entry)
  }

  count(kind: Entry['kind']): number {
    return this.entries.reduce((sum, entry) => (entry.kind === kind ? sum + 1 : sum), 0)
  }

  /** The ids a group has acknowledged. */
  acknowledged(group: string): Set<string> {
    const ids = new Set<string>()
    for (const entry of this.entries) if (entry.kind === 'settle' && entry.group === group && entry.how === 'ack') ids.add(entry.id)
    return ids
  }
}

/** All that must arrive as it was sent, as one text. */
export function digest(headers: Readonly<Record<string, string>>, bytes: Uint8Array): string {
  const sorted = Object.keys(headers)
    .filter((name) => name !== 'content-type')
    .sort()
    .map((name) => `${name}=${headers[name]}`)
  return `${sorted.join('&')}|${Buffer.from(bytes).toString('base64')}`
}

export function digestOf(message: Message): string {
  return digest(message.headers, message.bytes)
}

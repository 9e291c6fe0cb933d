import type { Headers } from './headers.ts'

/** Headers of ours on the wire. A message without any of them is an ordinary message of a foreign producer. */
export const wire = {
  /** The message's own id, where the transport's differs (a replay). */
  id: 'cozebus-id',
  /** The full name it was published under, where the transport's differs. */
  topic: 'cozebus-topic',
  /** When it was first published, ms. */
  publishedAt: 'cozebus-published-at',
  /** Where a body too large for the engine lies. */
  blob: 'cozebus-blob',
  /** Why the engine could not open the body, which is as it lay there: in pieces, or encrypted. */
  unreadable: 'cozebus-unreadable',
  /** Replays of this message so far. */
  replays: 'cozebus-replays',
} as const

/** The headers as a handler sees them: without ours. The same object where there is nothing to hide. */
export function visibleHeaders(headers: Headers | undefined): Headers {
  if (!headers) return none
  for (const name in headers) {
    if (name.startsWith('cozebus-')) return Object.fromEntries(Object.entries(headers).filter(([key]) => !key.startsWith('cozebus-')))
  }
  return headers
}

const none: Headers = Object.freeze({})

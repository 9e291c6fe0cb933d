import { bodyView } from '../message/exact-json.ts'

/** A message in any of the shapes that the bus shows one in. */
export interface Shown {
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly bytes: Uint8Array
  readonly publishedAt: Date
}

/** The fields that a message has on the wire, wherever it was read. */
export function messageView(message: Shown) {
  const { id, topic, key, headers, publishedAt } = message
  return { id, topic, key, headers, body: bodyView(message), publishedAt }
}

/** A message in any of the shapes that the bus shows one in. */
export interface Shown {
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly publishedAt: Date
}

/** Bytes that are no JSON cannot stand in JSON as they are. */
export function bodyView(body: unknown): unknown {
  return body instanceof Uint8Array ? { base64: Buffer.from(body).toString('base64') } : body
}

/** The fields that a message has on the wire, wherever it was read. */
export function messageView({ id, topic, key, headers, body, publishedAt }: Shown) {
  return { id, topic, key, headers, body: bodyView(body), publishedAt }
}

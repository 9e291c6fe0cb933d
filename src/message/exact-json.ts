const strict = new TextDecoder('utf-8', { fatal: true })
/** Only a number so long can be more than a double holds. */
const long = /\d[\d.]{15}/

type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown
const { parse, rawJSON } = JSON as unknown as {
  parse(text: string, reviver?: Reviver): unknown
  rawJSON(source: string): unknown
}

/**
 * JSON for whoever passes it on without computing with it (HTTP, a shell): numbers that a double cannot hold, the 64-bit
 * ids of other platforms, stand as they were written when the value is written as JSON again.
 */
export function parseExact(text: string): unknown {
  if (!long.test(text)) return parse(text)
  return parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value,
  )
}

/** Text of UTF-8 bytes. @throws TypeError for any other bytes: a replaced character would be another body */
export function strictText(bytes: Uint8Array): string {
  return strict.decode(bytes)
}

/** A body as it can stand in JSON: exact numbers, and bytes that are no JSON as base64. */
export function bodyView({ body, bytes }: { readonly body: unknown; readonly bytes: Uint8Array }): unknown {
  if (body instanceof Uint8Array) return { base64: Buffer.from(body).toString('base64') }
  try {
    const text = strictText(bytes)
    return long.test(text) ? parseExact(text) : body
  } catch {
    // Of another codec: as it was decoded.
    return body
  }
}

/** Any body for people to read: JSON as it is, else text, else base64. */
export function readableBody(bytes: Uint8Array): unknown {
  try {
    const text = strictText(bytes)
    try {
      return parseExact(text)
    } catch {
      return text
    }
  } catch {
    return { base64: Buffer.from(bytes).toString('base64') }
  }
}

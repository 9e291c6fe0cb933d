import { createHash } from 'node:crypto'

/** NSQ takes `[.a-zA-Z0-9_-]{1,64}`. */
const longest = 64
const hashLength = 16

/**
 * A name in NSQ's letters, so that it can be read back: what NSQ takes stays as it is, a parameter's place is the token
 * `ANY`, any other character is `-x` and its code. A longer one ends with a hash instead, and is read back by who made it.
 */
export class Names {
  /** What was shortened, or would be read back otherwise. */
  readonly #originals = new Map<string, string>()

  /** The topic or channel for a storage or group. */
  physical(name: string): string {
    const letters = name
      .split('.')
      .map((token) => (token === '*' ? 'ANY' : token === 'ANY' ? '-x41NY' : token.replace(/[^a-zA-Z0-9_-]|-(?=x[0-9a-f]{2})/g, escaped)))
      .join('.')
    const physical = letters.length <= longest ? letters : `${letters.slice(0, longest - hashLength - 1)}-${hash(name)}`
    if (physical !== name) this.#originals.set(physical, name)
    return physical
  }

  /** The storage or group of a topic or channel. */
  original(physical: string): string {
    return (
      this.#originals.get(physical) ??
      physical
        .split('.')
        .map((token) =>
          token === 'ANY' ? '*' : token.replace(/-x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16))),
        )
        .join('.')
    )
  }
}

function escaped(character: string): string {
  return `-x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, hashLength)
}

/** A channel that is gone with its last reader. */
export function ephemeral(channel: string): string {
  return `${channel}#ephemeral`
}

export function isEphemeral(physical: string): boolean {
  return physical.endsWith('#ephemeral')
}

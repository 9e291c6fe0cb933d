import { createHash } from 'node:crypto'
import { BusError } from '../../errors.ts'

/** NSQ takes `[.a-zA-Z0-9_-]{1,64}`. */
const longest = 64
const hashLength = 16
const hashed = /^.{47}-[0-9a-f]{16}$/
const mostKnown = 10_000

/**
 * A name in NSQ's letters, so that it can be read back: what NSQ takes stays as it is, a parameter's place is the token
 * `ANY`, any other character is `-x` and its code. A longer one ends with a hash instead, and has to be written down
 * somewhere ({@link NameRecord}).
 */
export class Names {
  readonly #known = new Map<string, string>()
  /** The long names, by what they were shortened to. */
  readonly #originals = new Map<string, string>()
  /** Told of each name that is shortened, once. */
  onShortened: (name: string) => void = () => {}

  /** The topic or channel for a storage or group. @throws BusError `conflict` where another long name has the same */
  physical(name: string): string {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const letters = lettersOf(name)
    const physical = letters.length <= longest ? letters : `${letters.slice(0, longest - hashLength - 1)}-${hash(name)}`
    if (physical !== letters) this.#shorten(physical, name)
    if (this.#known.size >= mostKnown) this.#known.clear()
    this.#known.set(name, physical)
    return physical
  }

  #shorten(physical: string, name: string): void {
    const other = this.#originals.get(physical)
    if (other === name) return
    if (other !== undefined)
      throw new BusError('conflict', `'${name}' and '${other}' have the same name on NSQ, ${physical}; rename one of them`)
    this.#originals.set(physical, name)
    this.onShortened(name)
  }

  /** The storage or group of a topic or channel; the shortened name itself where nobody wrote the whole one down. */
  original(physical: string): string {
    return this.#originals.get(physical) ?? nameOf(physical)
  }

  /** Whether it was shortened, and from what is not known. */
  isUnknown(physical: string): boolean {
    return hashed.test(physical) && !this.#originals.has(physical)
  }

  /** A long name that somebody wrote down. */
  learn(name: string): void {
    const letters = lettersOf(name)
    if (letters.length > longest) this.#originals.set(`${letters.slice(0, longest - hashLength - 1)}-${hash(name)}`, name)
  }
}

export function lettersOf(name: string): string {
  return name
    .split('.')
    .map((token) => (token === '*' ? 'ANY' : token === 'ANY' ? '-x41NY' : token.replace(/[^a-zA-Z0-9_-]|-(?=x[0-9a-f]{2})/g, escaped)))
    .join('.')
}

export function nameOf(letters: string): string {
  return letters
    .split('.')
    .map((token) =>
      token === 'ANY' ? '*' : token.replace(/-x([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16))),
    )
    .join('.')
}

function escaped(character: string): string {
  return `-x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}

export function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, hashLength)
}

/** A channel that is gone with its last reader. */
export function ephemeral(channel: string): string {
  return `${channel}#ephemeral`
}

export function isEphemeral(physical: string): boolean {
  return physical.endsWith('#ephemeral')
}

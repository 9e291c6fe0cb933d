import { BusError } from '../errors.ts'

/** Header names are case-sensitive text; values are text, without line breaks. */
export type Headers = Readonly<Record<string, string>>

/** Names with this prefix belong to the bus; a caller that sets one is refused. */
export const reservedPrefix = 'cozebus-'

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/

/**
 * Checks the headers of a caller.
 * @throws BusError `invalid_message` for a name that is no HTTP token, a reserved name, or a value with a line break
 */
export function checkHeaders(headers: Headers): void {
  for (const name in headers) {
    const value = headers[name] as unknown
    if (!token.test(name))
      throw new BusError('invalid_message', `header ${JSON.stringify(name)}: use 1 to 128 of the characters of an HTTP token`)
    if (name.toLowerCase().startsWith(reservedPrefix))
      throw new BusError('invalid_message', `header '${name}': names that begin with '${reservedPrefix}' are the bus's own`)
    if (typeof value !== 'string') throw new BusError('invalid_message', `header '${name}': the value is ${typeof value}, not text`)
    if (/[\r\n\0]/.test(value))
      throw new BusError('invalid_message', `header '${name}': a value may hold no line break and no NUL; encode it first`)
  }
}

import { BusError } from '../errors.ts'

/** A year and a month: JavaScript takes more, a lone number too. */
const beginning = /^\d{4}-\d\d/

/** A word or a position as it is; a time in ISO 8601 as a date. @throws BusError `invalid_argument` */
export function placeOrTime(text: string, name: string): string | Date {
  return beginning.test(text) ? timeOf(text, name) : text
}

/** `text` in ISO 8601; a time of day without a zone is this machine's. @throws BusError `invalid_argument` */
export function timeOf(text: string, name: string): Date {
  const date = new Date(text)
  if (!beginning.test(text) || Number.isNaN(date.getTime()))
    throw new BusError('invalid_argument', `${name} '${text}' is no time (ISO 8601)`)
  return date
}

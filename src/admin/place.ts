import { BusError } from '../errors.ts'

/** A word or a position as it is; a time in ISO 8601 as a date. @throws BusError `invalid_argument` */
export function placeOrTime(text: string, name: string): string | Date {
  return /^\d{4}-\d\d/.test(text) ? timeOf(text, name) : text
}

/** `text` in ISO 8601; what has no zone is of this machine's. @throws BusError `invalid_argument` */
export function timeOf(text: string, name: string): Date {
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new BusError('invalid_argument', `${name} '${text}' is no time (ISO 8601)`)
  return date
}

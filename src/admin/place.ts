import { BusError } from '../errors.ts'

/** A word or a position as it is; a time in ISO 8601 as a date. @throws BusError `invalid_argument` */
export function placeOrTime(text: string, name: string): string | Date {
  if (!/^\d{4}-\d\d/.test(text)) return text
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new BusError('invalid_argument', `${name} '${text}' is no time (ISO 8601)`)
  return date
}

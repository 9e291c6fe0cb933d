import { BusError } from '../errors.ts'

/** What an engine's option may be: tells what is wanted where it is not that. */
export type Check = (value: unknown) => string | undefined

/** ms. */
export const day = 86_400_000

export const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value) ? undefined : values.map((one) => (typeof one === 'string' ? `'${one}'` : String(one))).join(', ')
export const whole =
  (least: number, most: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most
      ? undefined
      : `a whole number from ${least} to ${most}`
export const text: Check = (value) => (typeof value === 'string' && value.trim() !== '' ? undefined : 'a text that is not empty')
export const object: Check = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'an object')
export const secret: Check = (value) =>
  typeof value === 'function' ? undefined : text(value) && `${text(value)}, or a function that gives one`
export const tls: Check = (value) =>
  typeof value === 'object' && value !== null ? undefined : 'an object, {} for TLS with the authorities of the system'
/** `waitForServer`. */
export const waiting: Check = (value) =>
  typeof value === 'boolean' ? undefined : whole(1, 30 * day)(value) && 'true, false or a time in ms'

/** @throws BusError `invalid_argument` that names the option, and never shows what it holds where that may be a secret */
export function checkOptions(options: object, table: Readonly<Record<string, Check>>, prefix: string): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    if (!Object.hasOwn(table, name))
      throw new BusError('invalid_argument', `there is no option ${prefix}.${name}; there are ${Object.keys(table).join(', ')}`)
    const wanted = table[name]!(value)
    if (wanted === undefined) continue
    const shown = typeof value === 'number' || typeof value === 'boolean' ? `, not ${value}` : ''
    throw new BusError('invalid_argument', `${prefix}.${name} must be ${wanted.includes("', '") ? `one of ${wanted}` : wanted}${shown}`)
  }
}

/** The same for the `tls` of an engine. @throws BusError `invalid_argument` also for a certificate without its key */
export function checkTls(
  given: { readonly cert?: string; readonly key?: string } | undefined,
  table: Readonly<Record<string, Check>>,
  prefix: string,
): void {
  if (given === undefined) return
  checkOptions(given, table, prefix)
  if ((given.cert === undefined) !== (given.key === undefined))
    throw new BusError('invalid_argument', `${prefix}.cert and ${prefix}.key go together: a certificate of the client and its key`)
}

import { BusError } from '../errors.ts'

/** The longest topic name or pattern, in characters. */
export const maxNameLength = 255
/** Topics with this prefix belong to the bus (a group's private topic for replays). */
export const privatePrefix = '_cozebus.'

const token = /^[A-Za-z0-9_\-:@+=~%$]+$/
const groupName = /^[A-Za-z0-9_\-:@.]{1,128}$/

function check(text: string, what: string, wild: boolean): void {
  if (typeof text !== 'string') throw new BusError('invalid_topic', `${what}: a name is text, not ${text === null ? 'null' : typeof text}`)
  const say = (why: string): never => {
    throw new BusError('invalid_topic', `${what} ${JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)}: ${why}`)
  }
  if (text === '') say('it is empty')
  if (text.length > maxNameLength) say(`it has ${text.length} characters; at most ${maxNameLength} are allowed`)
  const tokens = text.split('.')
  for (const [i, part] of tokens.entries()) {
    if (part === '') say('it has an empty token; write names like docs.added, without a dot at the ends or two in a row')
    if (part === '*' || part === '>') {
      if (!wild) say('a wildcard stands where one exact name is needed')
      if (part === '>' && i !== tokens.length - 1) say("'>' may only be the last token")
    } else if (!token.test(part)) {
      say(`the token ${JSON.stringify(part)} may hold letters, digits and _ - : @ + = ~ % $ only`)
    }
  }
}

function refusePrivate(text: string, what: string): void {
  if (isPrivate(text)) throw new BusError('invalid_topic', `${what} '${text}': names that begin with '${privatePrefix}' are the bus's own`)
}

/** A name that a user gives. @throws BusError `invalid_topic` */
export function checkName(name: string): void {
  check(name, 'topic', false)
  refusePrivate(name, 'topic')
}

/** A name or pattern that a user gives. @throws BusError `invalid_topic` */
export function checkPattern(pattern: string): void {
  check(pattern, 'pattern', true)
  refusePrivate(pattern, 'pattern')
}

/** @throws BusError `invalid_argument` */
export function checkGroup(group: string): void {
  if (typeof group !== 'string' || !groupName.test(group))
    throw new BusError('invalid_argument', `group ${JSON.stringify(group)}: use 1 to 128 letters, digits and _ - : @ . only`)
}

/** The private topic of a group, where its replays go. */
export function privateTopic(storage: string, group: string): string {
  // Both are one token here, so that no pattern of a user can match inside them.
  return `${privatePrefix}replay.${encodeURIComponent(group).replaceAll('.', '%2E')}.${encodeURIComponent(storage).replaceAll('.', '%2E').replaceAll('*', '%2A')}`
}

/** The topic whose replays a private topic carries; undefined for any other name. */
export function mainOf(storage: string): string | undefined {
  const last = /^_cozebus\.replay\.[^.]+\.([^.]+)$/.exec(storage)?.[1]
  return last === undefined ? undefined : decodeURIComponent(last)
}

export function isPrivate(storage: string): boolean {
  return storage.startsWith(privatePrefix)
}

import { readFileSync, statSync } from 'node:fs'
import {
  type Authenticator,
  credsAuthenticator,
  jwtAuthenticator,
  nkeyAuthenticator,
  nkeys,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { NatsOptions, Secret } from './options.ts'
import type { Servers } from './url.ts'

/**
 * How to answer the server's question who we are: what the options say, else what stood in the URL. Secrets that are a
 * path or a function are read again at each connect, so that one that was renewed is used without a restart.
 * Undefined: nothing was given.
 * @throws BusError `invalid_argument`, whose message and cause hold no secret
 */
export function authenticator(options: NatsOptions, url: Pick<Servers, 'user' | 'password' | 'token'>): Authenticator | undefined {
  const { creds, jwt, nkey, token, user, password } = options
  if (creds !== undefined) {
    const read = reader('creds', creds, (text) => isSeed(credsForm.exec(text)?.[1]))
    return credsAuthenticator(() => encode(`${read()}\n`))
  }
  const seed = nkey === undefined ? undefined : reader('nkey', nkey, isSeed)
  if (jwt !== undefined) {
    const read = reader('jwt', jwt, (text) => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text))
    return seed ? jwtAuthenticator(read, () => encode(seed())) : jwtAuthenticator(read)
  }
  if (seed) return nkeyAuthenticator(() => encode(seed()))
  if (user !== undefined) return usernamePasswordAuthenticator(user, password === undefined ? undefined : reader('password', password))
  if (token !== undefined) return tokenAuthenticator(reader('token', token))
  if (url.user !== undefined) return usernamePasswordAuthenticator(url.user, url.password)
  if (url.token !== undefined) return tokenAuthenticator(url.token)
  return undefined
}

/**
 * Reads now, and again whenever asked. Past the first time it never fails: a file that is just being replaced gives
 * what was there before, as the client ends its connection for good when it cannot answer the server.
 */
function reader(option: string, value: Secret, valid?: (content: string) => boolean): () => string {
  const read = (): string => {
    const content = source(option, value, valid !== undefined)
    if (!valid) return content
    const lines = unix(content)
    if (!valid(lines)) throw new BusError('invalid_argument', `nats.${option} holds neither such a secret nor the path of a file with one`)
    return lines
  }
  let last = read()
  return () => {
    try {
      last = read()
    } catch {
      // Refused by the server, if it is no longer right: health says so.
    }
    return last
  }
}

function source(option: string, value: Secret, mayBePath: boolean): string {
  try {
    const given = typeof value === 'function' ? value() : value
    if (typeof given !== 'string') throw new Error('no text')
    return mayBePath && isFile(given) ? readFileSync(given, 'utf8') : given
  } catch (error) {
    throw new BusError('invalid_argument', `nats.${option} cannot be read: ${error instanceof Error ? error.message : 'it threw'}`, {
      cause: error,
    })
  }
}

function isFile(value: string): boolean {
  try {
    return value.length < 4096 && statSync(value, { throwIfNoEntry: false })?.isFile() === true
  } catch {
    // No name that a file could have, as a JWT's: its text is not for an error.
    return false
  }
}

const credsForm = /BEGIN NATS USER JWT-+\s+[\w.-]+\s[\s\S]*?BEGIN USER NKEY SEED-+\s+(\w+)\s/

function isSeed(text: string | undefined): boolean {
  try {
    return text !== undefined && nkeys.fromSeed(encode(text)).getPublicKey().startsWith('U')
  } catch {
    return false
  }
}

/** Without the line ends that editors leave. */
function unix(text: string): string {
  return text.replaceAll('\r\n', '\n').trim()
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

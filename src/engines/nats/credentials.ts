import { readFileSync, statSync } from 'node:fs'
import {
  type Authenticator,
  credsAuthenticator,
  jwtAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from '@nats-io/transport-node'
import { BusError } from '../../errors.ts'
import type { NatsOptions } from './options.ts'

/**
 * How to answer the server's question who we are. Secrets given as a path are read again at each connect, so that one
 * that was renewed is used without a restart. Undefined: nothing was given.
 * @throws BusError `invalid_argument`
 */
export function authenticator(options: NatsOptions, user: string | undefined, password: string | undefined): Authenticator | undefined {
  const { creds, jwt, nkey, token } = options
  const name = options.user ?? user
  const word = options.password ?? password
  if (creds !== undefined) {
    const read = secret('nats.creds', creds)
    check(read, 'nats.creds', /BEGIN NATS USER JWT/)
    return (nonce) => credsAuthenticator(new TextEncoder().encode(`${unix(read())}\n`))(nonce)
  }
  if (jwt !== undefined) {
    const read = secret('nats.jwt', jwt)
    const seed = nkey === undefined ? undefined : secret('nats.nkey', nkey)
    check(read, 'nats.jwt', /^[\w-]+\.[\w-]+\.[\w-]+$/)
    return seed ? jwtAuthenticator(read, () => new TextEncoder().encode(seed())) : jwtAuthenticator(read)
  }
  if (nkey !== undefined) {
    const read = secret('nats.nkey', nkey)
    check(read, 'nats.nkey', /^SU[A-Z2-7]{56}$/)
    return nkeyAuthenticator(() => new TextEncoder().encode(read()))
  }
  if (name !== undefined) return usernamePasswordAuthenticator(name, word)
  if (token !== undefined) return tokenAuthenticator(token)
  return undefined
}

/** The content itself, or a path to it; read when asked, without the line ends that editors leave. */
function secret(option: string, value: string): () => string {
  const isPath = value.length < 4096 && !value.includes('\n') && statSync(value, { throwIfNoEntry: false })?.isFile() === true
  if (!isPath) return () => value.trim()
  return () => {
    try {
      return readFileSync(value, 'utf8').trim()
    } catch (error) {
      throw new BusError('unauthorized', `${option}: the file ${value} cannot be read`, { cause: error })
    }
  }
}

function check(read: () => string, option: string, form: RegExp): void {
  if (!form.test(unix(read())))
    throw new BusError('invalid_argument', `${option} holds neither such a secret nor the path of a file with one`)
}

function unix(text: string): string {
  return text.replaceAll('\r\n', '\n')
}

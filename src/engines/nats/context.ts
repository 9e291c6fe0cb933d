import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { BusError } from '../../errors.ts'
import type { NatsOptions } from './options.ts'

/** The file of a context, as the `nats` command line writes it. Absent and empty fields are the same. */
interface Context {
  readonly url?: string
  readonly token?: string
  readonly user?: string
  readonly password?: string
  readonly creds?: string
  readonly nkey?: string
  readonly user_jwt?: string
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
  readonly tls_first?: boolean
  readonly [other: string]: unknown
}

/** What changes where the server is asked, or whom: to leave it out would be to do something else in silence. */
const unserved = ['nsc', 'socks_proxy', 'jetstream_domain', 'jetstream_api_prefix', 'inbox_prefix', 'windows_cert_store']

/**
 * The options with those of their context behind them, and its address. Credentials that are given here replace the
 * context's as a whole.
 * @throws BusError `not_found`, `invalid_argument`, `unsupported`
 */
export function withContext(options: NatsOptions): { url: string | undefined; options: NatsOptions } {
  const { context: name, ...own } = options
  if (name === undefined) return { url: undefined, options }
  if (!/^[\w.-]+$/.test(name)) throw new BusError('invalid_argument', `'${name}' is no name of a NATS context`)
  const path = join(folder(), 'context', `${name}.json`)
  const context = read(path, name)
  const odd = unserved.find((field) => context[field] !== undefined && context[field] !== '')
  if (odd)
    throw new BusError(
      'unsupported',
      `NATS context '${name}' has ${odd}, which is not supported here; give address and credentials without it`,
    )
  const at = (file: string): string => resolve(dirname(path), file.replace(/^~(?=\/)/, homedir()))
  const texts = <T extends string>(fields: Record<T, string | undefined>, file = false): { [K in T]?: string } =>
    Object.fromEntries(
      Object.entries<string | undefined>(fields)
        .filter(([, value]) => value)
        .map(([field, value]) => [field, file ? at(value!) : value]),
    ) as { [K in T]?: string }
  const given = (['user', 'token', 'nkey', 'jwt', 'creds'] as const).some((field) => own[field] !== undefined)
  const { user, password, token, user_jwt: jwt, creds, nkey, ca, cert, key, tls_first: first } = context
  const tls = { ...texts({ ca, cert, key }, true), ...(first ? { handshakeFirst: true } : {}) }
  return {
    url: context.url ? context.url : undefined,
    options: {
      ...(given ? {} : { ...texts({ user, password, token, jwt }), ...texts({ creds, nkey }, true) }),
      ...(Object.keys(tls).length > 0 ? { tls } : {}),
      ...own,
    },
  }
}

function folder(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'nats')
}

function read(path: string, name: string): Context {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new BusError('not_found', `there is no NATS context '${name}' (${path}); \`nats context ls\` lists them`, { cause: error })
  }
  try {
    return JSON.parse(text) as Context
  } catch {
    // Not as a cause: it would show some of the text.
    throw new BusError('invalid_argument', `${path} is no JSON`)
  }
}

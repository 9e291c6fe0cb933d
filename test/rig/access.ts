// Every way to authenticate with a NATS server: the server's side as configuration, the client's as options of nats.js.
import { encodeAccount, encodeOperator, encodeUser, fmtCreds, type Permissions } from '@nats-io/jwt'
import { createAccount, createOperator, createUser } from '@nats-io/nkeys'
import { credsAuthenticator, type NodeConnectionOptions, nkeyAuthenticator } from '@nats-io/transport-node'

export interface Access {
  readonly config: string
  /** May do all that is needed in the account of the tests. */
  readonly client: NodeConnectionOptions
  /** A user of the system account. */
  readonly system?: NodeConnectionOptions
}

const system = { user: 'rig-system', pass: 'rig-system' }
const systemAccount = `$SYS { users: [ { user: ${system.user}, password: ${system.pass} } ] }`
const q = (text: string): string => JSON.stringify(text)

/** Anybody may connect; the system account has a user. */
export const openAccess = (): Access => ({ config: `accounts { ${systemAccount} }`, client: {}, system })

export const tokenAccess = (token = 'rig-token'): Access => ({ config: `authorization { token: ${q(token)} }`, client: { token } })

export interface NatsUser {
  user: string
  password: string
  /** The server's own notation: `publish: { deny: "$JS.API.>" }`. */
  permissions?: string
}

/** Users in one account with JetStream; the first one is the rig's and needs all its rights. */
export function passwordAccess(users: readonly NatsUser[] = [{ user: 'rig', password: 'rig-password' }]): Access {
  const list = users.map(({ user, password, permissions }) => account(`user: ${q(user)}, password: ${q(password)}`, permissions))
  return { ...accountOf(list), client: { user: users[0]!.user, pass: users[0]!.password } }
}

export function nkeyAccess(): Access & { seed: string; publicKey: string } {
  const pair = createUser()
  const seed = pair.getSeed()
  const publicKey = pair.getPublicKey()
  return { ...accountOf([account(`nkey: ${publicKey}`)]), client: { authenticator: nkeyAuthenticator(seed) }, seed: text(seed), publicKey }
}

const account = (identity: string, permissions?: string): string =>
  `{ ${identity}${permissions === undefined ? '' : `, permissions: { ${permissions} }`} }`

const accountOf = (users: readonly string[]): Pick<Access, 'config' | 'system'> => ({
  config: `accounts {\nRIG { jetstream: enabled, users: [ ${users.join(', ')} ] }\n${systemAccount}\n}`,
  system,
})

export interface JwtUser {
  readonly jwt: string
  readonly seed: string
  /** A `.creds` file's content: both of them. */
  readonly creds: string
}

export interface JwtAccess extends Access, JwtUser {
  /** One more user of the account. `expires` in seconds since 1970. */
  issue(user?: { permissions?: Partial<Permissions>; expires?: number }): Promise<JwtUser>
}

/** What is not said in a JWT is zero, not unlimited. */
const unlimited = { conn: -1, leaf: -1, subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true }

/** An operator, an account with JetStream and its users, all made here; the server knows the accounts from its configuration. */
export async function jwtAccess(): Promise<JwtAccess> {
  const [operator, systems, accounts] = [createOperator(), createAccount(), createAccount()]
  const everything = { ...unlimited, mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
  const [operatorJwt, systemJwt, accountJwt] = await Promise.all([
    encodeOperator('rig', operator, { system_account: systems.getPublicKey() }),
    encodeAccount('SYS', systems, { limits: unlimited }, { signer: operator }),
    encodeAccount('RIG', accounts, { limits: everything }, { signer: operator }),
  ])
  const issueOf = async (issuer: typeof accounts, permissions: Partial<Permissions> = {}, expires?: number): Promise<JwtUser> => {
    const pair = createUser()
    const jwt = await encodeUser('rig', pair, issuer, permissions, expires === undefined ? {} : { exp: expires })
    return { jwt, seed: text(pair.getSeed()), creds: text(fmtCreds(jwt, pair)) }
  }
  const [user, admin] = await Promise.all([issueOf(accounts), issueOf(systems)])
  const preload = `{ ${systems.getPublicKey()}: ${systemJwt}, ${accounts.getPublicKey()}: ${accountJwt} }`
  const as = ({ creds }: JwtUser): NodeConnectionOptions => ({ authenticator: credsAuthenticator(new TextEncoder().encode(creds)) })
  return {
    config: `operator: ${operatorJwt}\nsystem_account: ${systems.getPublicKey()}\nresolver: MEMORY\nresolver_preload: ${preload}`,
    client: as(user),
    system: as(admin),
    ...user,
    issue: ({ permissions, expires } = {}) => issueOf(accounts, permissions, expires),
  }
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

import type { Access } from './access.ts'
import type { Certificates } from './certificates.ts'

/** What a test may say about a server. `startNats` and `startCluster` take it, `restart` and `reload` changes of it. */
export interface NatsSettings {
  /** On. A text: more of the `jetstream` block, e.g. `max_file_store: 1MB`. */
  jetstream?: boolean | string
  /** How often the store is synced to disk, e.g. `always`; the server's default is two minutes. */
  syncInterval?: string
  /** Who may connect, and how the rig and tests do. Everybody, unless given. */
  access?: Access
  /** `verify`: clients need a certificate too. */
  tls?: { certificates: Certificates; verify?: boolean; handshakeFirst?: boolean }
  websocket?: boolean
  /** More of the configuration, as text; it wins over what the rig writes. */
  config?: string
}

export interface NatsPorts {
  port: number
  monitor: number
  websocket: number
  route: number
}

export interface NatsIdentity {
  name: string
  store: string
  ports: NatsPorts
  cluster?: { name: string; routes: readonly number[] }
}

const q = (text: string): string => JSON.stringify(text)

/** The configuration file of nats-server. */
export function natsConfig({ name, store, ports, cluster }: NatsIdentity, settings: NatsSettings): string {
  const { jetstream = true, syncInterval, access, tls, websocket, config } = settings
  const lines = [
    `server_name: ${q(name)}`,
    'host: "127.0.0.1"',
    `port: ${ports.port}`,
    `http: "127.0.0.1:${ports.monitor}"`,
    // The shortest the server allows; a grace of a second, as a test does not want to wait ten.
    'lame_duck_duration: "30s"',
    'lame_duck_grace_period: "1s"',
    access?.config ?? '',
  ]
  if (jetstream !== false) {
    const sync = syncInterval === undefined ? '' : `sync_interval: ${syncInterval}\n`
    lines.push(`jetstream {\nstore_dir: ${q(store)}\n${sync}${jetstream === true ? '' : jetstream}\n}`)
  }
  const secure = tls && tlsBlock(tls)
  if (secure) lines.push(secure)
  if (websocket) lines.push(`websocket {\nhost: "127.0.0.1"\nport: ${ports.websocket}\n${secure ?? 'no_tls: true'}\n}`)
  if (cluster) {
    const routes = cluster.routes.map((port) => q(`nats://127.0.0.1:${port}`)).join(', ')
    lines.push(`cluster {\nname: ${q(cluster.name)}\nlisten: "127.0.0.1:${ports.route}"\nroutes: [ ${routes} ]\n}`)
  }
  return `${[...lines, config ?? ''].filter((line) => line !== '').join('\n')}\n`
}

function tlsBlock({ certificates: { paths }, verify, handshakeFirst }: NonNullable<NatsSettings['tls']>): string {
  const files = `cert_file: ${q(paths.serverCert)}\nkey_file: ${q(paths.serverKey)}\nca_file: ${q(paths.ca)}`
  return `tls {\n${files}\nverify: ${verify === true}\n${handshakeFirst ? 'handshake_first: true\n' : ''}}`
}

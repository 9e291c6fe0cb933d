import { join } from 'node:path'
import type { Certificates } from './certificates.ts'

export interface RocketmqSettings {
  /** How many, each with topics' queues of its own. Default: 1. */
  brokers?: number
  /** Who may come in, and may do everything: by ACL 2.0, as of 5.3. */
  user?: { readonly accessKey: string; readonly secretKey: string }
  /** Whether topics appear when they are first used. Default: true, as a stock broker's. */
  autoCreate?: boolean
  /** Serves TLS too, on the same ports; `clients`: whoever speaks it has to show a certificate. */
  tls?: { readonly certificates: Certificates; readonly clients?: boolean }
  /** Lines of broker.conf. */
  extra?: Readonly<Record<string, string>>
}

export interface BrokerPorts {
  readonly client: number
  readonly ha: number
}

const lines = (values: Readonly<Record<string, string | number | boolean>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')

/** As TlsSystemConfig reads it. Permissive: the rig itself and the servers among themselves speak without it. */
export function tlsArguments({ tls }: RocketmqSettings): string[] {
  if (!tls) return []
  const { ca, serverCert, serverKey } = tls.certificates.paths
  return [
    '-Dtls.test.mode.enable=false',
    '-Dtls.server.mode=permissive',
    `-Dtls.server.certPath=${serverCert}`,
    `-Dtls.server.keyPath=${serverKey}`,
    `-Dtls.server.trustCertPath=${ca}`,
    `-Dtls.server.authClient=${tls.clients === true}`,
    `-Dtls.server.need.client.auth=${tls.clients === true ? 'require' : 'none'}`,
  ]
}

export const nameServerProperties = (folder: string, port: number): string =>
  lines({
    listenPort: port,
    bindAddress: '127.0.0.1',
    kvConfigPath: join(folder, 'kvConfig.json'),
    configStorePath: join(folder, 'namesrv.properties'),
  })

/** Small files, and a clock of its own for delays, which taking by POP needs. */
export function brokerProperties(folder: string, name: string, nameServer: string, ports: BrokerPorts, settings: RocketmqSettings): string {
  const { user, autoCreate = true, extra } = settings
  return lines({
    brokerClusterName: 'DefaultCluster',
    brokerName: name,
    brokerId: 0,
    brokerRole: 'ASYNC_MASTER',
    flushDiskType: 'ASYNC_FLUSH',
    namesrvAddr: nameServer,
    brokerIP1: '127.0.0.1',
    brokerIP2: '127.0.0.1',
    bindAddress: '127.0.0.1',
    listenPort: ports.client,
    haListenPort: ports.ha,
    storePathRootDir: join(folder, 'store'),
    storePathCommitLog: join(folder, 'store', 'commitlog'),
    mappedFileSizeCommitLog: 16_777_216,
    mappedFileSizeConsumeQueue: 600_000,
    maxIndexNum: 20_000,
    maxHashSlotNum: 5000,
    timerWheelEnable: true,
    timerPrecisionMs: 100,
    mappedFileSizeTimerLog: 1_048_576,
    autoCreateTopicEnable: autoCreate,
    autoCreateSubscriptionGroup: true,
    defaultTopicQueueNums: 4,
    deleteWhen: '04',
    fileReservedTime: 1,
    diskMaxUsedSpaceRatio: 95,
    ...(user && {
      authenticationEnabled: true,
      authenticationProvider: 'org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider',
      authenticationMetadataProvider: 'org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider',
      initAuthenticationUser: JSON.stringify({ username: user.accessKey, password: user.secretKey }),
      innerClientAuthenticationCredentials: JSON.stringify(user),
      authConfigPath: join(folder, 'auth'),
      authorizationEnabled: true,
      authorizationProvider: 'org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider',
      authorizationMetadataProvider: 'org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider',
    }),
    ...extra,
  })
}

import { join } from 'node:path'
import type { Certificates } from './certificates.ts'

export interface PulsarSettings {
  tls?: {
    certificates: Certificates
    /** Clients show a certificate of their own. */
    verify?: boolean
    /** Who a client is, is the common name of its certificate; without it anybody with a certificate comes in. Wants `verify`. */
    roles?: boolean
  }
  /** Clients show a token, see `PulsarNode.token`. */
  tokens?: {
    /** Roles that may do everything. When given, others may do what they were granted through `admin`; absent: every role may do all. */
    superusers?: readonly string[]
  }
  /** Whether a topic appears when it is first used. Default: true, as a stock broker's. */
  autoCreate?: boolean
  /** Topics that appear by themselves have so many partitions. Default: none, as a stock broker's. */
  partitions?: number
  /** Lines of standalone.conf. */
  extra?: Readonly<Record<string, string>>
}

export interface PulsarPorts {
  readonly broker: number
  readonly brokerTls: number
  readonly http: number
  readonly bookie: number
}

/** Where the rig is quicker than a stock broker, what that does instead: `extra` of a test that shows what costs nothing there. */
export const stockSettings: Readonly<Record<string, string>> = {
  managedLedgerDefaultMarkDeleteRateLimit: '1.0',
  managedLedgerNewEntriesCheckDelayInMillis: '10',
  journalSyncData: 'true',
  journalMaxGroupWaitMSec: '1',
  activeConsumerFailoverDelayTimeMillis: '1000',
  acknowledgmentAtBatchIndexLevelEnabled: 'false',
  delayedDeliveryTickTimeMillis: '1000',
}

export const configFile = 'broker.conf'

/** The broker itself and the rig. */
export const insideRole = 'rig'

/**
 * Small and quick; what was acknowledged survives a kill, and what was written is read at once.
 * `store`: where the brokers of a cluster keep what they share; without it the broker has its own.
 */
export function pulsarProperties(ports: PulsarPorts, settings: PulsarSettings, secret: string, token: string, store?: string): string {
  const { tls, tokens, autoCreate = true, partitions, extra } = settings
  const lines: Record<string, string | number | boolean> = {
    clusterName: 'standalone',
    brokerServicePort: ports.broker,
    webServicePort: ports.http,
    bindAddress: '127.0.0.1',
    advertisedAddress: '127.0.0.1',
    metadataStoreUrl: store ?? '',
    configurationMetadataStoreUrl: store ?? '',
    allowAutoTopicCreation: autoCreate,
    allowAutoTopicCreationType: partitions === undefined ? 'non-partitioned' : 'partitioned',
    defaultNumPartitions: partitions ?? 1,
    defaultNumberOfNamespaceBundles: 4,
    managedLedgerDefaultEnsembleSize: 1,
    managedLedgerDefaultWriteQuorum: 1,
    managedLedgerDefaultAckQuorum: 1,
    managedLedgerCacheSizeMB: 32,
    managedLedgerNewEntriesCheckDelayInMillis: 0,
    managedLedgerDefaultMarkDeleteRateLimit: 0,
    bookkeeperClientTimeoutInSeconds: 10,
    numIOThreads: 2,
    numHttpServerThreads: 8,
    numOrderedExecutorThreads: 2,
    transactionCoordinatorEnabled: false,
    brokerShutdownTimeoutMs: 5000,
    brokerDeleteInactiveTopicsEnabled: false,
    delayedDeliveryTickTimeMillis: 200,
    activeConsumerFailoverDelayTimeMillis: 0,
    acknowledgmentAtBatchIndexLevelEnabled: true,
    // Alone it needs none; of two each would take for its own what it is asked for.
    loadBalancerEnabled: store !== undefined,
    loadBalancerSheddingEnabled: false,
    // So long a killed broker's topics are nobody's.
    metadataStoreSessionTimeoutMillis: 4000,
    allowLoopback: true,
    listeningInterface: 'lo',
    httpServerEnabled: false,
    ledgerStorageClass: 'org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage',
    dbStorage_writeCacheMaxSizeMb: 16,
    dbStorage_readAheadCacheMaxSizeMb: 8,
    dbStorage_rocksDB_blockCacheSize: 8_388_608,
    dbStorage_rocksDB_writeBufferSizeMB: 4,
    journalMaxSizeMB: 64,
    journalSyncData: false,
    journalPreAllocSizeMB: 4,
    journalMaxGroupWaitMSec: 0,
    diskUsageThreshold: 0.99,
    diskUsageWarnThreshold: 0.99,
    numAddWorkerThreads: 1,
    numReadWorkerThreads: 1,
  }
  const providers: string[] = []
  if (tls) {
    const { paths } = tls.certificates
    Object.assign(lines, {
      brokerServicePortTls: ports.brokerTls,
      tlsCertificateFilePath: paths.serverCert,
      tlsKeyFilePath: paths.serverKey,
      tlsTrustCertsFilePath: paths.ca,
      tlsRequireTrustedClientCertOnConnect: tls.verify === true,
    })
    if (tls.roles) providers.push('org.apache.pulsar.broker.authentication.AuthenticationProviderTls')
  }
  if (tokens || tls?.roles)
    // The broker speaks to itself on its port without TLS, with a token.
    Object.assign(lines, {
      authenticationEnabled: true,
      authenticationProviders: [...providers, 'org.apache.pulsar.broker.authentication.AuthenticationProviderToken'].join(','),
      tokenSecretKey: `data:;base64,${secret}`,
      brokerClientAuthenticationPlugin: 'org.apache.pulsar.client.impl.auth.AuthenticationToken',
      brokerClientAuthenticationParameters: `token:${token}`,
      authorizationEnabled: tokens?.superusers !== undefined,
      superUserRoles: [insideRole, ...(tokens?.superusers ?? [])].join(','),
    })
  return Object.entries({ ...lines, ...extra })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

export const pulsarLogging = `<Configuration status="ERROR"><Appenders><Console name="C">
<PatternLayout pattern="%d{HH:mm:ss.SSS} %-5p %c{1} - %m%n"/></Console></Appenders>
<Loggers><Root level="info"><AppenderRef ref="C"/></Root></Loggers></Configuration>
`

/** Of a JVM that has the folder to itself: it writes there, and logs as the file there says. */
export const folderArguments = (folder: string): string[] => [
  `-Djava.io.tmpdir=${join(folder, 'tmp')}`,
  `-Dlog4j2.configurationFile=${join(folder, 'log4j2.xml')}`,
]

const standalone = (folder: string, bookie: number): string[] => [
  'org.apache.pulsar.PulsarStandaloneStarter',
  '--config',
  join(folder, configFile),
  '--no-functions-worker',
  '--no-stream-storage',
  '--bookkeeper-dir',
  join(folder, 'bookie'),
  '--bookkeeper-port',
  String(bookie),
  '--advertised-address',
  '127.0.0.1',
]

export const pulsarArguments = (folder: string, { bookie }: PulsarPorts): string[] => [
  ...standalone(folder, bookie),
  '--metadata-dir',
  join(folder, 'metadata'),
]

/** A broker over a store that others have too. */
export const brokerArguments = (folder: string): string[] => [
  'org.apache.pulsar.PulsarBrokerStarter',
  '--broker-conf',
  join(folder, configFile),
]

/** ZooKeeper and a bookie, and no broker. */
export const storeArguments = (folder: string, zookeeper: number, bookie: number): string[] => [
  ...standalone(folder, bookie),
  '--no-broker',
  '--zookeeper-dir',
  join(folder, 'zookeeper'),
  '--zookeeper-port',
  String(zookeeper),
]

/** Without it there is no ZooKeeper, whatever the arguments say. */
export const storeEnvironment = { PULSAR_STANDALONE_USE_ZOOKEEPER: '1' }

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Certificates } from './certificates.ts'

export interface KafkaSettings {
  /** Whom the broker lets in, by name; each by every mechanism. Absent: anybody. */
  users?: Readonly<Record<string, string>>
  mechanisms?: readonly ('PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512')[]
  tls?: {
    certificates: Certificates
    /** Clients show a certificate of their own. */
    verify?: boolean
  }
  /** The port that clients are told, where something stands before the broker. */
  advertised?: number
  /** Lines of server.properties. */
  extra?: Readonly<Record<string, string>>
}

export interface KafkaPorts {
  /** Where clients come in. */
  readonly client: number
  /** Without TLS and password: for the broker itself, and for the rig to ask whether it is there. */
  readonly inner: number
  readonly controller: number
}

/**
 * Small and quick: few partitions of the broker's own topics, no wait before a group's first round.
 * `nodes`: all of its cluster, itself among them. With several each partition has up to three copies, two of which confirm a message.
 */
export function kafkaProperties(
  folder: string,
  ports: KafkaPorts,
  { users, mechanisms = ['PLAIN'], tls, advertised, extra }: KafkaSettings,
  nodes: readonly KafkaPorts[] = [ports],
): string {
  const protocol = `${users ? 'SASL_' : ''}${tls ? 'SSL' : 'PLAINTEXT'}`
  const copies = String(Math.min(nodes.length, 3))
  const confirming = nodes.length > 2 ? '2' : '1'
  const lines: Record<string, string> = {
    'process.roles': 'broker,controller',
    'node.id': String(nodes.indexOf(ports) + 1),
    listeners: `CLIENT://127.0.0.1:${ports.client},INNER://127.0.0.1:${ports.inner},CONTROLLER://127.0.0.1:${ports.controller}`,
    'listener.security.protocol.map': `CLIENT:${protocol},INNER:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'INNER',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder, 'data'),
    'num.network.threads': '2',
    'num.io.threads': '4',
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': confirming,
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': confirming,
    'share.coordinator.state.topic.num.partitions': '2',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'auto.create.topics.enable': 'false',
    'log.cleaner.dedupe.buffer.size': '4194304',
    'log.index.size.max.bytes': '65536',
  }
  if (advertised !== undefined) lines['advertised.listeners'] = `CLIENT://127.0.0.1:${advertised},INNER://127.0.0.1:${ports.inner}`
  if (nodes.length === 1) lines['controller.quorum.bootstrap.servers'] = `127.0.0.1:${ports.controller}`
  else
    Object.assign(lines, {
      'controller.quorum.voters': nodes.map(({ controller }, index) => `${index + 1}@127.0.0.1:${controller}`).join(','),
      'default.replication.factor': copies,
      'min.insync.replicas': confirming,
      // A node that was killed is missed sooner than the nine seconds that are Kafka's own.
      'broker.session.timeout.ms': '4000',
      'broker.heartbeat.interval.ms': '500',
    })
  if (users) {
    lines['sasl.enabled.mechanisms'] = mechanisms.join(',')
    const known = Object.entries(users).map(([name, password]) => ` user_${name}="${password}"`)
    for (const mechanism of mechanisms)
      lines[`listener.name.client.${mechanism.toLowerCase()}.sasl.jaas.config`] =
        mechanism === 'PLAIN'
          ? `org.apache.kafka.common.security.plain.PlainLoginModule required${known.join('')};`
          : 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  }
  if (tls) {
    const { certificates } = tls
    const store = join(folder, 'server.store.pem')
    writeFileSync(store, `${certificates.serverKey.trim()}\n${certificates.serverCert.trim()}\n`, { mode: 0o600 })
    Object.assign(lines, {
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': store,
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': certificates.paths.ca,
      'ssl.client.auth': tls.verify ? 'required' : 'none',
    })
  }
  return Object.entries({ ...lines, ...extra })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

export const kafkaLogging = (file: string): string => `status=warn
appender.f.type=File
appender.f.name=F
appender.f.fileName=${file}
appender.f.layout.type=PatternLayout
appender.f.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.f.ref=F
`

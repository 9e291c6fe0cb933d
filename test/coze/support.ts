import { jetstreamManager } from '@nats-io/jetstream'
import { onTestFinished } from 'vitest'
import { configFromEnv, type NatsConfig } from '../../src/coze/index.ts'
import type { NatsNode } from '../rig/nats.ts'
import { type GoLine, type GoMember, type GoRead, type GoSend, goService } from './go-service.ts'

const go = await goService('go')
export const noGo: string | undefined = go.missing

export const goSends = (server: NatsNode, topic: string, options: GoSend): Promise<GoLine[]> => go.sends(server.url, topic, options)
export const goReads = (server: NatsNode, topic: string, group: string, options?: GoRead): Promise<GoMember> =>
  go.reads(server.url, topic, group, options)

export function configFor(server: NatsNode, more: Record<string, string> = {}): NatsConfig {
  const variables = { COZE_MQ_TYPE: 'nats', MQ_NAME_SERVER: `127.0.0.1:${server.port}`, NATS_USE_JETSTREAM: 'true' }
  return configFromEnv({ ...variables, ...more }) as NatsConfig
}

/** Looks at streams and consumers beside the bus, until the test ends. */
export async function look(server: NatsNode) {
  const nc = await server.connect()
  onTestFinished(() => nc.close())
  return jetstreamManager(nc)
}

/** Closed when the test ends, unless it was before. */
export async function closing<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
  const opened = await opening
  onTestFinished(() => opened.close())
  return opened
}

export const text = (body: Uint8Array): string => Buffer.from(body).toString()

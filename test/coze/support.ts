import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { jetstreamManager } from '@nats-io/jetstream'
import { onTestFinished } from 'vitest'
import { configFromEnv, type NatsConfig } from '../../src/coze/index.ts'
import { command } from '../rig/install.ts'
import type { NatsNode } from '../rig/nats.ts'
import { guardProcess } from '../rig/orphans.ts'
import { goProgram } from './go-program.ts'

const built = goProgram()
built.catch(() => {})

/** Why the Go program cannot be had on this machine; undefined when it can. */
export const noGo: string | undefined = await built.then(
  () => undefined,
  (error: Error) => `no Go program: ${error.message.replace(/[()\s]+/g, ' ')}`,
)
if (noGo !== undefined && process.env['CI'] === 'true') throw new Error(noGo)

export interface GoLine {
  readonly sent?: number
  readonly duplicate?: boolean
  readonly ready?: boolean
  readonly body?: string
  readonly delivered?: number
  readonly failed?: boolean
}

/** What the Go side sends; resolves to a line for each send. */
export async function goSends(
  server: NatsNode,
  topic: string,
  options: { key?: string; body?: string; count?: number },
): Promise<GoLine[]> {
  const args = ['-url', server.url, '-topic', topic, '-key', options.key ?? '', '-body', options.body ?? '%d']
  const printed = await command(await built, [...args, '-count', String(options.count ?? 1)])
  return printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** A Go member of the group, until the test ends; resolves once it reads. */
export async function goReads(
  server: NatsNode,
  topic: string,
  group: string,
  options: { fail?: string; workMs?: number } = {},
): Promise<{ lines: GoLine[]; stop(): Promise<void> }> {
  const args = ['-url', server.url, '-topic', topic, '-group', group, '-fail', options.fail ?? '', '-work', `${options.workMs ?? 0}ms`]
  const child = spawn(await built, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const unguard = guardProcess(child.pid!)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve())).then(unguard)
  const stop = (): Promise<void> => {
    child.kill('SIGTERM')
    return ended
  }
  onTestFinished(stop)
  const lines: GoLine[] = []
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the Go program ended before it read')))
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as GoLine
      if (said.ready) resolve()
      else lines.push(said)
    })
  })
  return { lines, stop }
}

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

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { goProgram } from '../coze/go-program.ts'
import { command } from '../rig/install.ts'
import type { KafkaNode } from '../rig/kafka.ts'
import { guardProcess } from '../rig/orphans.ts'

const built = goProgram(join(import.meta.dirname, 'go'))
built.catch(() => {})

/** Why the Go program cannot be had on this machine; undefined when it can. */
export const noGo: string | undefined = await built.then(
  () => undefined,
  (error: Error) => `no Go program: ${error.message.replace(/[()\s]+/g, ' ')}`,
)
if (noGo !== undefined && process.env['CI'] === 'true') throw new Error(noGo)

export interface GoLine {
  readonly sent?: number
  readonly partition?: number
  readonly ready?: boolean
  readonly partitions?: number
  readonly body?: string
  readonly key?: string
  readonly headers?: Record<string, string>
}

/** What the Go side sends; resolves to a line for each send. */
export async function goSends(
  broker: KafkaNode,
  topic: string,
  options: { key?: string; body?: string; count?: number } = {},
): Promise<GoLine[]> {
  const args = ['-broker', broker.address, '-topic', topic, '-key', options.key ?? '', '-body', options.body ?? '%d']
  const printed = await command(await built, [...args, '-count', String(options.count ?? 1)])
  return printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** A Go member of the group, until the test ends; resolves once it reads. `rounds`: how many partitions it got in each. */
export async function goReads(
  broker: KafkaNode,
  topic: string,
  group: string,
  options: { fail?: string; workMs?: number } = {},
): Promise<{ lines: GoLine[]; rounds: number[]; stop(): Promise<void> }> {
  const args = [
    '-broker',
    broker.address,
    '-topic',
    topic,
    '-group',
    group,
    '-fail',
    options.fail ?? '',
    '-work',
    `${options.workMs ?? 0}ms`,
  ]
  const child = spawn(await built, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const unguard = guardProcess(child.pid!)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve())).then(unguard)
  const stop = (): Promise<void> => {
    child.kill('SIGTERM')
    return ended
  }
  onTestFinished(stop)
  const lines: GoLine[] = []
  const rounds: number[] = []
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the Go program ended before it read')))
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as GoLine
      if (said.ready) {
        rounds.push(said.partitions!)
        resolve()
      } else lines.push(said)
    })
  })
  return { lines, rounds, stop }
}

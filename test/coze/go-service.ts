import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { command } from '../rig/install.ts'
import { guardProcess } from '../rig/orphans.ts'
import { goProgram } from './go-program.ts'

export interface GoLine {
  readonly sent?: number
  readonly duplicate?: boolean
  readonly ready?: boolean
  readonly body?: string
  readonly delivered?: number
  readonly failed?: boolean
  readonly key?: string
  readonly properties?: Readonly<Record<string, string>>
}

export interface GoSend {
  readonly key?: string
  readonly body?: string
  readonly count?: number
  /** What only this program takes: `-batch`, `-token`, … */
  readonly args?: readonly string[]
}

export interface GoRead {
  readonly fail?: string
  readonly workMs?: number
  readonly args?: readonly string[]
}

export interface GoMember {
  readonly lines: GoLine[]
  stop(): Promise<void>
}

export interface GoService {
  /** Why the Go program cannot be had on this machine; undefined when it can. */
  readonly missing: string | undefined
  /** What the Go side sends; resolves to a line for each send. */
  sends(url: string, topic: string, options: GoSend): Promise<GoLine[]>
  /** A Go member of the group, until the test ends; resolves once it reads. */
  reads(url: string, topic: string, group: string, options?: GoRead): Promise<GoMember>
}

/** A Go program that does what Coze Studio does on its broker. With CI=true it has to be there. */
export async function goService(name: 'go' | 'go-nsq' | 'go-rmq' | 'go-pulsar'): Promise<GoService> {
  const built = goProgram(join(import.meta.dirname, name))
  const missing = await built.then(
    () => undefined,
    (error: Error) => `no Go program: ${error.message.replace(/[()\s]+/g, ' ')}`,
  )
  if (missing !== undefined && process.env['CI'] === 'true') throw new Error(missing)
  return {
    missing,
    async sends(url, topic, options) {
      const args = ['-url', url, '-topic', topic, '-key', options.key ?? '', '-body', options.body ?? '%d', ...(options.args ?? [])]
      const printed = await command(await built, [...args, '-count', String(options.count ?? 1)])
      return printed
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    },
    async reads(url, topic, group, options = {}) {
      const args = [
        '-url',
        url,
        '-topic',
        topic,
        '-group',
        group,
        '-fail',
        options.fail ?? '',
        '-work',
        `${options.workMs ?? 0}ms`,
        ...(options.args ?? []),
      ]
      const child = spawn(await built, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
      const unguard = guardProcess(child.pid!)
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve())).then(unguard)
      const stop = (): Promise<void> => {
        child.kill('SIGTERM')
        // Where its broker is gone it may take leave of it for ever.
        const force = setTimeout(() => child.kill('SIGKILL'), 5000)
        return ended.then(() => clearTimeout(force))
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
    },
  }
}

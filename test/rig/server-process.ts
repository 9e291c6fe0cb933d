import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { guardProcess } from './orphans.ts'

/** A server of a test, one process after the other: its group ends with the test, whatever becomes of it. */
export class ServerProcess {
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()

  /** While it runs. */
  get pid(): number | undefined {
    return this.#child?.pid
  }
  get runs(): boolean {
    return this.#child !== undefined
  }
  get exited(): Promise<void> {
    return this.#exited
  }

  /** `log`: the file that what it prints is added to. `env`: beside this process's own. */
  start(program: string, args: readonly string[], log: string, env: Readonly<Record<string, string>> = {}): void {
    const out = openSync(log, 'a')
    const child = spawn(program, args, { detached: true, stdio: ['ignore', out, out], env: { ...process.env, ...env } })
    closeSync(out)
    this.#child = child
    const unguard = child.pid === undefined ? () => {} : guardProcess(child.pid)
    this.#exited = new Promise<void>((resolve) => {
      child.once('error', () => resolve())
      child.once('exit', () => resolve())
    }).then(() => {
      unguard()
      if (this.#child === child) this.#child = undefined
    })
  }

  /** Sends it and does not wait; nothing when no process runs. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** Resolves when the process has ended, by force after so long, ms. */
  async end(signal: NodeJS.Signals, withinMs: number): Promise<void> {
    this.signal(signal)
    const late = new AbortController()
    const force = sleep(withinMs, undefined, { signal: late.signal }).then(
      () => this.signal('SIGKILL'),
      () => {},
    )
    await Promise.race([this.#exited, force])
    late.abort()
    await this.#exited
  }
}

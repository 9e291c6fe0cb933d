// Nothing a test starts may outlive it, however the test's process ends. A watchdog process holds the reading end of a pipe from us, and a list of
// what to end. The kernel closes the pipe when we die, by SIGKILL too; the watchdog then kills the processes by group, removes the folders and goes.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

let watchdog: ChildProcess | undefined

function tell(change: { verb: 'add' | 'drop'; pid?: number; folder?: string }): void {
  if (!watchdog) {
    // Its own session, so that Ctrl-C does not reach it before it has done its work.
    watchdog = spawn(process.execPath, [join(import.meta.dirname, 'watchdog.ts')], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    watchdog.unref()
    const pipe = watchdog.stdin as Socket
    pipe.unref()
    pipe.on('error', () => {})
  }
  watchdog.stdin!.write(`${JSON.stringify(change)}\n`)
}

/** The process must lead a group of its own (`detached`). Call what is returned once it has ended. */
export function guardProcess(pid: number): () => void {
  tell({ verb: 'add', pid })
  return () => tell({ verb: 'drop', pid })
}

export function guardFolder(folder: string): () => void {
  tell({ verb: 'add', folder })
  return () => tell({ verb: 'drop', folder })
}

/** A folder for the time of a test. */
export function temporaryFolder(name: string): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `cozebus-${name}-`))
  const unguard = guardFolder(path)
  const remove = (): void => {
    rmSync(path, { recursive: true, force: true, maxRetries: 5 })
    unguard()
  }
  return { path, remove }
}

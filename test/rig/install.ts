// Programs the tests need and npm does not have: fetched or built once for a user of the machine, then kept in a cache folder.
import { spawn } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guardFolder, guardProcess } from './orphans.ts'

/** The longest a build may take; a lock older than this belongs to nobody. */
const patienceMs = 15 * 60_000

export const cacheFolder = (): string => join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'cozebus', 'rig')

/**
 * Resolves to the folder of that name, which `fill` filled at some time in the past or fills now.
 * Two processes at once: one fills, the other waits. A folder appears whole or not at all, as it is renamed into place.
 */
export async function installOnce(name: string, fill: (folder: string) => Promise<void>, cache = cacheFolder()): Promise<string> {
  const folder = join(cache, name)
  if (existsSync(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const unlock = await lock(folder)
  try {
    if (existsSync(folder)) return folder
    const partial = mkdtempSync(`${folder}.`)
    const unguard = guardFolder(partial)
    try {
      await fill(partial)
      renameSync(partial, folder)
    } finally {
      rmSync(partial, { recursive: true, force: true })
      unguard()
    }
    return folder
  } finally {
    unlock()
  }
}

/** The lock saves work, it does not guard the folder: should two ever hold it, both build and one rename fails. */
async function lock(folder: string): Promise<() => void> {
  const path = `${folder}.lock`
  const mine = `${path}.${process.pid}`
  writeFileSync(mine, String(process.pid))
  try {
    for (;;) {
      try {
        // A link, as it appears together with what is in it.
        linkSync(mine, path)
        return () => rmSync(path, { force: true })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      if (abandoned(path)) rmSync(path, { force: true })
      else await sleep(100)
    }
  } finally {
    rmSync(mine, { force: true })
  }
}

function abandoned(path: string): boolean {
  try {
    if (Date.now() - statSync(path).mtimeMs > patienceMs) return true
    process.kill(Number(readFileSync(path, 'utf8')), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** Runs it to its end; rejects with what it printed last. What it started dies with this process. `started`: told its id. */
export async function command(
  program: string,
  args: readonly string[],
  { started, ...options }: { cwd?: string; env?: NodeJS.ProcessEnv; started?: (pid: number) => void } = {},
): Promise<string> {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const unguard = child.pid === undefined ? () => {} : guardProcess(child.pid)
  if (child.pid !== undefined) started?.(child.pid)
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (printed += text))
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        if (code === 0) resolve()
        else reject(new Error(`${program} ${args[0]} ended with ${signal ?? code}: ${printed.trim().split('\n').slice(-5).join('\n')}`))
      })
    })
  } finally {
    unguard()
  }
  return printed
}

// The other end of orphans.ts: run as a process of its own.
import { rmSync } from 'node:fs'
import { createInterface } from 'node:readline'

const pids = new Set<number>()
const folders = new Set<string>()

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { verb, pid, folder } = JSON.parse(line)
    if (pid !== undefined) verb === 'add' ? pids.add(pid) : pids.delete(pid)
    if (folder !== undefined) verb === 'add' ? folders.add(folder) : folders.delete(folder)
  })
  .once('close', () => {
    for (const pid of pids) {
      try {
        process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL')
      } catch {
        // It has ended already.
      }
    }
    // A killed process may write for an instant more; rmSync repeats.
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  })

import { type ChildProcess, spawn } from 'node:child_process'
import type { Message } from '../deliver/message.ts'

const windows = process.platform === 'win32'
const running = new Set<ChildProcess>()

/** Whoever leaves at once takes its commands along. */
process.on('exit', () => {
  for (const child of running) kill(child)
})

function kill(child: ChildProcess): void {
  try {
    // The whole group: a shell does not pass the signal on to what it runs.
    if (windows || child.pid === undefined) child.kill()
    else process.kill(-child.pid, 'SIGTERM')
  } catch {
    // It has ended meanwhile.
  }
}

/** What the command gets of ours: all but the token of the gateway, which it does not need and may print. */
function environment(): NodeJS.ProcessEnv {
  const { COZEBUS_TOKEN: _, COZEBUS_TOKEN_FILE: __, ...kept } = process.env
  return kept
}

/** Runs the command with the body on its standard input; resolves on exit code 0, and rejects for any other. */
export function execute(command: string, message: Message, attempt: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, {
      shell: true,
      // A group of its own: Ctrl-C is for us to drain by, not for the command to die of.
      detached: !windows,
      stdio: ['pipe', 'inherit', 'inherit'],
      env: {
        ...environment(),
        COZEBUS_ID: message.id,
        COZEBUS_TOPIC: message.topic,
        COZEBUS_KEY: message.key ?? '',
        COZEBUS_ATTEMPT: String(attempt),
        COZEBUS_PUBLISHED_AT: message.publishedAt.toISOString(),
        COZEBUS_HEADERS: JSON.stringify(message.headers),
      },
    })
    running.add(child)
    const abort = (): void => kill(child)
    signal?.addEventListener('abort', abort)
    child.on('error', reject)
    child.on('close', (code, ended) => {
      running.delete(child)
      signal?.removeEventListener('abort', abort)
      if (code === 0) resolve()
      else reject(new Error(`the command ended with ${ended ?? `exit code ${code}`}`))
    })
    // A command that does not read its input is no failure.
    child.stdin.on('error', () => {})
    child.stdin.end(message.bytes)
  })
}

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '../src/index.ts'
import { buildPackage } from './built.ts'

const total = 1_000_000
const body = new Uint8Array(256).fill(7)

/** A backlog of a million messages, taken by a process of its own: time to the first one, rate, and memory at its highest. */
export async function backlog(): Promise<void> {
  buildPackage()
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-bench-'))
  try {
    const bus = await connect(`file:${dir}`)
    for (let sent = 0; sent < total; sent += 10_000) await bus.publishMany('bench', Array<Uint8Array>(10_000).fill(body))
    await bus.close()
    const child = join(import.meta.dirname, 'backlog.mjs')
    const { firstMs, rate, peakMiB } = JSON.parse(
      execFileSync(process.execPath, [child, `file:${dir}`, String(total)], { encoding: 'utf8' }),
    )
    console.log(`first delivery ${firstMs} ms after connect began, ${rate} messages a second, resident memory at most ${peakMiB} MiB`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

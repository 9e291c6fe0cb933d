import { connect } from '../bus.ts'
import { newId } from '../message/id.ts'
import { paint, table } from './output.ts'

interface Check {
  readonly check: string
  readonly ok: boolean
  readonly detail: string
}

/** Tries what a user would, and says what is wrong. */
export async function doctor(options: { url: string; json?: boolean }): Promise<void> {
  const checks: Check[] = []
  const attempt = async (check: string, action: () => Promise<string> | string): Promise<void> => {
    try {
      checks.push({ check, ok: true, detail: await action() })
    } catch (error) {
      checks.push({ check, ok: false, detail: error instanceof Error ? error.message : String(error) })
    }
  }
  await attempt('node', () => {
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
    if (!((major === 22 && minor >= 22) || (major === 24 && minor >= 6) || major > 24))
      throw new Error(`Node ${process.version} is too old; use 22.22 or 24.6 and later`)
    return process.version
  })
  await attempt('connect', async () => {
    const bus = await connect(options.url)
    const topic = `doctor.${newId()}`
    try {
      await attempt('health', async () => {
        const health = await bus.health()
        if (!health.ok) throw new Error(health.detail)
        return health.detail
      })
      await attempt('round trip', async () => {
        const begun = performance.now()
        let got = (): void => {}
        const handled = new Promise<void>((resolve) => {
          got = resolve
        })
        const work = await bus.subscribe(topic, { group: 'doctor' }, () => got())
        await bus.publish(topic, { ping: true })
        await Promise.race([
          handled,
          new Promise((_, reject) => setTimeout(() => reject(new Error('published, but nothing came back within 5 s')), 5000).unref()),
        ])
        const ms = performance.now() - begun
        await work.close()
        return `${ms.toFixed(1)} ms`
      })
      await bus.admin.deleteTopic(topic).catch(() => {})
      return `${bus.status().engine}, ${bus.status().capabilities.durability} durability, ledger ${bus.status().ledger}`
    } finally {
      await bus.close()
    }
  })
  if (options.json) table(checks as unknown as Record<string, unknown>[], true)
  else
    for (const { check, ok, detail } of checks)
      process.stdout.write(`${ok ? paint('green', 'ok  ') : paint('red', 'FAIL')} ${check.padEnd(11)} ${detail}\n`)
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1
}

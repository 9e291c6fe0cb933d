import { createHash } from 'node:crypto'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { command, installOnce } from '../rig/install.ts'

/** Resolves to the path of the Go program in this folder; built anew when it was changed. */
export async function goProgram(source = join(import.meta.dirname, 'go')): Promise<string> {
  const hash = createHash('sha256')
  for (const name of readdirSync(source).sort()) hash.update(readFileSync(join(source, name)))
  const folder = await installOnce(`${basename(dirname(source))}-${basename(source)}-${hash.digest('hex').slice(0, 12)}`, async (into) => {
    const copy = join(into, 'source')
    cpSync(source, copy, { recursive: true })
    const env = { ...process.env, GOWORK: 'off', CGO_ENABLED: '0' }
    await command('go', ['build', '-trimpath', '-o', join(into, 'coze'), '.'], { cwd: copy, env })
  })
  return join(folder, 'coze')
}

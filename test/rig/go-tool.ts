// Programs from the Go module proxy, built once for a user of the machine.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command, installOnce } from './install.ts'

export const exe = process.platform === 'win32' ? '.exe' : ''

/**
 * Resolves to the folder that holds the programs of these packages. A module of our own around them: that builds offline
 * once its parts were fetched, `go install program@version` does not, nor does it take a module that replaces another.
 */
export const goPrograms = (name: string, version: string, packages: readonly string[], requires: string): Promise<string> =>
  installOnce(`${name}-${version}`, async (into) => {
    await command('go', ['version']).catch(explain)
    process.stderr.write(`building ${name} ${version} (once)…\n`)
    const source = join(into, 'source')
    mkdirSync(source)
    writeFileSync(join(source, 'go.mod'), `module rig\n\ngo 1.21\n\n${requires}\n`)
    const env = { ...process.env, GOWORK: 'off', CGO_ENABLED: '0' }
    for (const path of packages) {
      const program = join(
        into,
        (path
          .replace(/\/v\d+$/, '')
          .split('/')
          .at(-1) ?? name) + exe,
      )
      await command('go', ['build', '-mod=mod', '-trimpath', '-o', program, path], { cwd: source, env }).catch(explain)
    }
    rmSync(source, { recursive: true })
  })

function explain(error: NodeJS.ErrnoException): never {
  throw error.code === 'ENOENT' ? new Error('Go is not installed', { cause: error }) : error
}

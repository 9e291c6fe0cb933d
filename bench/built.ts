import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = join(import.meta.dirname, '..')

/** What the processes of a bench run. */
export interface Built {
  /** The folder of what bench/sides holds. */
  readonly sides: string
  readonly extension: '.ts' | '.mjs'
  /** The module of cozebus. */
  readonly library: string
  /** The command line. */
  readonly cli: string
}

export function buildPackage(): void {
  const built = spawnSync('npm', ['run', 'build', '--silent'], { stdio: 'inherit', shell: process.platform === 'win32' })
  if (built.status !== 0) throw new Error('the package could not be built')
}

/** The package as users have it, and the sides as plain JavaScript: what strips types takes memory and time that no user's process has. */
export function built(): Built {
  buildPackage()
  const sides = join(root, 'node_modules', '.cache', 'cozebus-bench')
  rmSync(sides, { recursive: true, force: true })
  mkdirSync(sides, { recursive: true })
  for (const file of globSync(join(import.meta.dirname, 'sides', '*.ts'))) {
    const plain = stripTypeScriptTypes(readFileSync(file, 'utf8')).replaceAll(/'(\.\/[\w-]+)\.ts'/g, "'$1.mjs'")
    writeFileSync(join(sides, basename(file).replace('.ts', '.mjs')), plain)
  }
  const dist = join(root, 'dist')
  return { sides, extension: '.mjs', library: pathToFileURL(join(dist, 'index.js')).href, cli: join(dist, 'cli', 'main.js') }
}

/** Straight from the sources, for tests. */
export function fromSource(): Built {
  const src = join(root, 'src')
  return {
    sides: join(import.meta.dirname, 'sides'),
    extension: '.ts',
    library: pathToFileURL(join(src, 'index.ts')).href,
    cli: join(src, 'cli', 'main.ts'),
  }
}

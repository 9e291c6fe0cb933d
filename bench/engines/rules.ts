import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'

/** The tests of one rule over one engine, by their names. */
export interface Kept {
  readonly passed: Set<string>
  readonly failed: Set<string>
  /** Those that do not apply, by why: what its capabilities say of the engine. */
  readonly left: Map<string, Set<string>>
}
/** By engine, then by rule. */
export type Rules = Map<string, Map<string, Kept>>

interface Report {
  readonly files: readonly { readonly name: string; readonly broken: boolean; readonly tests: readonly Tested[] }[]
}
interface Tested {
  readonly name: string
  readonly state: 'passed' | 'failed' | 'skipped'
  readonly note?: string
}

const root = join(import.meta.dirname, '..', '..')

/** The conformance tests of these engines as `npm test` runs them, and what came of each. */
export function rules(engines: readonly string[]): Rules {
  const folder = mkdtempSync(join(tmpdir(), 'cozebus-engines-'))
  const report = join(folder, 'report.json')
  const reporter = join(root, 'scripts', 'report.mjs')
  const files = engines.map(fileOf)
  try {
    spawnSync('vitest', ['run', '--typecheck.enabled=false', '--reporter=default', `--reporter=${reporter}`, ...files], {
      cwd: root,
      env: { ...process.env, CI: 'true', COZEBUS_TEST_REPORT: report },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    return byEngine(JSON.parse(readFileSync(report, 'utf8')))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const fileOf = (engine: string): string => `test/${engine === 'embedded' ? 'conformance/embedded' : `${engine}/conformance`}.test.ts`

function byEngine({ files }: Report): Rules {
  const engines: Rules = new Map()
  for (const { name: file, broken, tests } of files) {
    const [, folder] = relative(root, file).split('/')
    if (broken) throw new Error(`${relative(root, file)} could not be run: see above`)
    for (const { name: full, state, note } of tests) {
      const [, title, why] = /(R\d+: .*?)(?: \(([^()]+)\))?$/s.exec(full) ?? []
      if (title === undefined) throw new Error(`a test of no rule: ${full}`)
      const engine = folder !== 'conformance' ? folder! : full.includes('in memory') ? 'memory' : 'embedded'
      const rule = title.slice(0, title.indexOf(':'))
      const kept = at(
        at(engines, engine, () => new Map<string, Kept>()),
        rule,
        empty,
      )
      if (state !== 'skipped') kept[state].add(title)
      else at(kept.left, note ?? why ?? 'no reason given', () => new Set<string>()).add(title)
    }
  }
  // A suite runs over several brokers of one kind: what one of them shows is shown, what one breaks is broken.
  for (const kept of [...engines.values()].flatMap((of) => [...of.values()])) {
    for (const title of kept.failed) kept.passed.delete(title)
    for (const [why, titles] of kept.left) {
      for (const title of titles) if (kept.passed.has(title) || kept.failed.has(title)) titles.delete(title)
      if (titles.size === 0) kept.left.delete(why)
    }
  }
  return engines
}

const empty = (): Kept => ({ passed: new Set(), failed: new Set(), left: new Map() })

function at<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

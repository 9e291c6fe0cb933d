import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { brokenEngines } from '../../src/testing/models/broken.ts'

const root = new URL('../../', import.meta.url)
const page = readFileSync(new URL('docs/testing.md', root), 'utf8')
const dir = mkdtempSync(join(tmpdir(), 'cozebus-docs-'))
afterAll(() => rm(dir, { recursive: true, force: true }))

/** The engine that the page's reader is writing. */
const myEngine = `import { logModel } from '${new URL('src/testing/models/log.ts', root)}'
const broker = logModel()
export const openMyEngine = () => broker.connect()
`

describe('docs/testing.md', () => {
  for (const name of ['certify.test.ts', 'handlers.test.ts']) {
    test(`${name} runs as it stands there`, async () => {
      const code = page
        .split('```ts\n')
        .find((block) => block.startsWith(`// ${name}\n`))!
        .split('```')[0]!
      writeFileSync(join(dir, 'my-engine.ts'), myEngine)
      writeFileSync(join(dir, name), code.replaceAll("'cozebus/testing'", `'${new URL('src/testing/index.ts', root)}'`))
      const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined }
      const run = promisify(execFile)(process.execPath, ['--test', '--test-reporter=tap', join(dir, name)], {
        cwd: fileURLToPath(root),
        env,
      })
      const { stdout } = await run.catch((error) => error)
      expect(stdout).toMatch(/^# pass [1-9]/m)
      expect(stdout).toMatch(/^# fail 0$/m)
    }, 90_000)
  }

  test('names every broken engine, under its rule', () => {
    const rows = [...page.matchAll(/^\| (R\d+) \| ([\w-]+) \|/gm)].map(([, rule, name]) => `${rule} ${name}`)
    expect(rows.sort()).toEqual(brokenEngines.map(({ rule, name }) => `${rule} ${name}`).sort())
  })
})

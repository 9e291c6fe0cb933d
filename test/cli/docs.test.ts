import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { errorTable } from '../../src/errors.ts'
import { shell } from './support.ts'

const server = shell()
const cli = shell()
const root = join(import.meta.dirname, '../..')
const page = (name: string): string => readFileSync(join(root, 'docs', name), 'utf8')

/** The shell blocks of a page as one script; each `# → text` is what the command before it must have printed. */
function steps(text: string): { command: string; expected: string[] }[] {
  const found: { command: string; expected: string[] }[] = []
  for (const [, block] of text.matchAll(/```sh\n(.*?)```/gs)) {
    let command = ''
    for (const line of block!.trimEnd().split('\n')) {
      if (line.startsWith('# → ')) found.at(-1)!.expected.push(line.slice(4))
      else {
        command += `${line}\n`
        if (line.endsWith('\\')) continue
        found.push({ command, expected: [] })
        command = ''
      }
    }
  }
  return found
}

/** Runs them in one shell, and shares out what it prints between marks. */
async function play(dir: string, all: ReturnType<typeof steps>, env: Record<string, string | undefined>): Promise<void> {
  const mark = '--- next ---'
  const cozebus = `cozebus() { "${process.execPath}" "${root}/src/cli/main.ts" "$@"; }`
  const script = ['set -e', cozebus, ...all.map(({ command }) => `${command}\necho; echo '${mark}'`)].join('\n')
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) =>
    execFile('bash', ['-c', script], { cwd: dir, env }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr })),
  )
  const parts = stdout.split(mark)
  expect([code, parts.length - 1, stderr]).toEqual([0, all.length, expect.any(String)])
  for (const [i, { command, expected }] of all.entries())
    for (const text of expected) expect([command, parts[i]]).toEqual([command, expect.stringContaining(text)])
}

test('docs/http.md runs as it stands there', async () => {
  const { base } = await server.serve()
  const all = steps(page('http.md').replaceAll('http://127.0.0.1:4280', base))
  expect(all.length).toBeGreaterThan(10)
  await play(server.dir, all, process.env)
})

test('docs/cli.md runs as it stands there', async () => {
  const { dir, url } = cli
  writeFileSync(join(dir, 'picture.png'), new Uint8Array([137, 80, 78, 71, 0, 255]))
  const all = steps(page('cli.md'))
  expect(all.length).toBeGreaterThan(20)
  await play(dir, all, { ...process.env, COZEBUS_URL: url, NODE_NO_WARNINGS: '1' })
})

test('the tables of errors on both pages are those of the code', () => {
  const told = (text: string): Record<string, number> =>
    Object.fromEntries(
      [...text.matchAll(/^\| (\d+) \|(.*)\|$/gm)].flatMap(([, number, rest]) =>
        [...rest!.matchAll(/`([a-z_]+)`/g)].filter(([, code]) => code! in errorTable).map(([, code]) => [code!, Number(number)]),
      ),
    )
  const codes = Object.entries(errorTable)
  expect(told(page('cli.md'))).toEqual(Object.fromEntries(codes.map(([code, { exit }]) => [code, exit])))
  const sent = codes.filter(([code]) => code !== 'aborted').map(([code, { status }]) => [code, status])
  expect(told(page('http.md'))).toEqual(Object.fromEntries(sent))
})

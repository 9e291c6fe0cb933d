import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { errorTable } from '../../src/errors.ts'
import { shell } from './support.ts'

const { dir, run } = shell()

const commands = [
  '',
  'serve',
  'pub',
  'sub',
  'topics',
  'topics ls',
  'topics info',
  'topics browse',
  'topics purge',
  'topics rm',
  'groups',
  'groups ls',
  'groups lag',
  'groups pause',
  'groups resume',
  'groups reset',
  'groups rm',
  'dlq',
  'dlq ls',
  'dlq show',
  'dlq replay',
  'dlq discard',
  'dlq export',
  'doctor',
  'bench',
]

test('the help of every command, with examples, --json, --url and exit codes', async () => {
  const texts: string[] = []
  for (const command of commands) {
    const { code, out, err } = await run([...command.split(' ').filter(Boolean), '--help'], '', { COZEBUS_URL: '', COLUMNS: '100' })
    expect([command, code, err]).toEqual([command, 0, ''])
    for (const part of ['Examples:\n  $ cozebus ', '--json', '--url <url>', 'Exit codes: 0 done'])
      expect([command, out]).toEqual([command, expect.stringContaining(part)])
    texts.push(`$ cozebus ${command} --help\n${out}`)
  }
  await expect(texts.join('\n')).toMatchFileSnapshot('help.txt')
  // None is left out above.
  const listed = [...texts[0]!.matchAll(/^ {2}([a-z]+) .*/gm)].map(([, name]) => name!).filter((name) => name !== 'help')
  expect(new Set(commands.map((command) => command.split(' ')[0]!).filter(Boolean))).toEqual(new Set(listed))
})

test('every exit code that an error can have is in the help', async () => {
  const { out } = await run(['--help'])
  const told = [.../Exit codes: (.*)/.exec(out)![1]!.matchAll(/(\d+) /g)].map(([, code]) => Number(code))
  for (const { exit } of Object.values(errorTable)) expect(told).toContain(exit)
})

test('help loads neither the bus nor the HTTP server: it comes at once', async () => {
  const hook = join(dir, 'hook.mjs')
  writeFileSync(
    hook,
    `import { registerHooks } from 'node:module'
     registerHooks({ load(url, context, next) { process.stderr.write(url + '\\n'); return next(url, context) } })`,
  )
  const { code, err } = await run(['--help'], '', { NODE_OPTIONS: `--import ${hook}` })
  const loaded = err.trim().split('\n')
  expect([code, loaded.some((url) => url.endsWith('/cli/main.ts'))]).toEqual([0, true])
  expect(
    loaded.filter((url) => /src\/(bus|deliver|publish|engines|gateway\/(app|server|routes))|node_modules\/(?!commander)/.test(url)),
  ).toEqual([])
})

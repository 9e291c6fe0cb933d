import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { shell } from './support.ts'

const { dir, run } = shell()
const file = join(dir, 'options.json')

test('a file has what connect takes: here a limit of the store, by option and by variable', async () => {
  writeFileSync(file, JSON.stringify({ embedded: { maxBytes: 10 } }))
  for (const [args, more] of [
    [['--options', file], {}],
    [[], { COZEBUS_OPTIONS: file }],
  ] as const) {
    const { code, err } = await run(['pub', 'full', '"more than ten bytes"', ...args], '', more)
    expect(err).toMatch(/maxBytes|full/)
    expect(code).not.toBe(0)
  }
  expect((await run(['pub', 'full', '"more than ten bytes"'])).code).toBe(0)
})

test('a file that is wrong is an error that names it and shows nothing of it', async () => {
  for (const [text, why] of [
    ['{"pulsar":{"token":"sesame"', 'is no JSON'],
    ['["sesame"]', 'must hold an object'],
    ['{"pulsra":{"token":"sesame"}}', "has 'pulsra', which is none of nats,"],
  ] as const) {
    writeFileSync(file, text)
    const { code, err } = await run(['topics', '--options', file])
    expect(err).toContain(`${file}, ${why}`)
    expect(err).not.toContain('sesame')
    expect(code).toBe(2)
  }
  expect((await run(['topics', '--options', join(dir, 'nowhere.json')])).err).toContain('cannot be read: ENOENT')
})

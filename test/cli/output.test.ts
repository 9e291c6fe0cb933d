import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { paint, progress, table } from '../../src/cli/output.ts'

let written = ''
const { isTTY } = process.stdout
const terminal = (on: boolean): void => {
  process.stdout.isTTY = on
  process.stderr.isTTY = on
}
beforeEach(() => {
  written = ''
  vi.stubEnv('NO_COLOR', '')
  vi.stubEnv('FORCE_COLOR', '1')
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, 'write').mockImplementation((chunk) => {
      written += chunk
      return true
    })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  terminal(isTTY)
})

const rows = [
  { name: 'a', lag: 12, last: undefined },
  { name: 'longer name', lag: 3, last: new Date(0) },
]

test('a terminal gets a table with bold names, and progress on one line', () => {
  terminal(true)
  table(rows)
  const [head, first, second] = written.split('\n')
  expect(head).toBe('\u001b[1mname         lag  last\u001b[22m')
  expect([first, second]).toEqual(['a            12   -', 'longer name  3    1970-01-01T00:00:00.000Z'])
  written = ''
  progress('5 published')
  expect(written).toBe('\r\u001b[K5 published')
})

test('NO_COLOR takes the colour away, not the table', () => {
  terminal(true)
  vi.stubEnv('NO_COLOR', '1')
  table(rows)
  expect(written.split('\n')[0]).toBe('name         lag  last')
  expect(paint('red', 'x')).toBe('x')
})

test('a pipe gets tabs, no colour and no progress', () => {
  terminal(false)
  table(rows)
  progress('5 published')
  expect(written).toBe('name\tlag\tlast\na\t12\t-\nlonger name\t3\t1970-01-01T00:00:00.000Z\n')
})

test('a cell cannot break the line or the terminal', () => {
  terminal(false)
  table([{ error: 'two\nlines\tand \u001b[31mred' }])
  expect(written).toBe('error\ntwo lines and [31mred\n')
})

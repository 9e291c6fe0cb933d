import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { brokers } from '../../bench/engines/brokers.ts'

const root = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(root, 'docs', 'engines.md'), 'utf8')
const engines = readdirSync(join(root, 'src', 'engines'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)

const rowsAfter = (mark: string): string[][] =>
  page
    .slice(page.indexOf(`<!-- ${mark}:`), page.indexOf(`<!-- end of ${mark} -->`))
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .split('|')
        .map((cell) => cell.trim())
        .slice(1, -1),
    )

test('the page has every engine and every rule, and no test of the suite failed when it was written', () => {
  const [header, , ...rows] = rowsAfter('rules')
  expect(header!.slice(1).sort()).toEqual([...engines, 'memory'].map((name) => `\`${name}\``).sort())
  const rules = rows.filter(([name]) => name !== 'lines of code')
  expect(rules.map(([name]) => name)).toEqual(Array.from({ length: 12 }, (_, i) => `[R${i + 1}](guarantees.md)`))
  for (const cell of rules.flatMap((row) => row.slice(1))) expect(cell).toMatch(/^\d+ passed(, \d+ not applying)?$/)
})

test('every engine with a broker is measured beside a client of that broker, publishing and consuming', () => {
  expect(Object.keys(brokers).sort()).toEqual(engines.filter((name) => name !== 'embedded').sort())
  const [, , ...rows] = rowsAfter('rates')
  const expected = Object.entries(brokers).flatMap(([name, { broker }]) =>
    ['publish', 'consume'].map((what) => [`${name} (${broker})`, what]),
  )
  expect(rows.map(([engine, what]) => [engine, what])).toEqual(expected)
})

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('every built file that package.json names has a source', () => {
  const named = JSON.stringify([manifest.exports, manifest.bin]).match(/dist\/[^"]+/g) ?? []
  expect(named.length).toBeGreaterThanOrEqual(5)
  const sources = named.map((file) => file.replace(/^dist\//, 'src/').replace(/(\.d\.ts|\.js)$/, '.ts'))
  expect(sources.filter((file) => !existsSync(join(root, file)))).toEqual([])
})

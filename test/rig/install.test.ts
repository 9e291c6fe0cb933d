import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { command, installOnce } from './install.ts'
import { temporaryFolder } from './orphans.ts'

function cache(): string {
  const { path, remove } = temporaryFolder('cache')
  onTestFinished(remove)
  return path
}

test('two at once: one fills the folder, both get it whole', async () => {
  const folder = cache()
  let fills = 0
  const fill = async (into: string): Promise<void> => {
    fills++
    await sleep(50)
    writeFileSync(join(into, 'program'), 'whole')
  }
  const [one, two] = await Promise.all([installOnce('tool', fill, folder), installOnce('tool', fill, folder)])
  expect([fills, one, two]).toEqual([1, join(folder, 'tool'), join(folder, 'tool')])
  expect(readdirSync(folder, { recursive: true }).sort()).toEqual(['tool', join('tool', 'program')])
})

test('a failure leaves nothing behind, and the next may try', async () => {
  const folder = cache()
  await expect(installOnce('tool', () => Promise.reject(new Error('no compiler')), folder)).rejects.toThrow('no compiler')
  expect(readdirSync(folder)).toEqual([])
  await installOnce('tool', async () => {}, folder)
})

test('the lock of a process that died holds nobody up', async () => {
  const folder = cache()
  const dead = await command(process.execPath, ['-p', 'process.pid'])
  writeFileSync(join(folder, 'tool.lock'), dead.trim())
  await installOnce('tool', async () => {}, folder)
  expect(readdirSync(folder)).toEqual(['tool'])
})

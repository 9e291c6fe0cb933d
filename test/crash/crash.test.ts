import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { crashRounds } from './rounds.ts'

// The rules are in checks.ts; `npm run soak` does a hundred rounds.
test('publishers and workers are killed at random: nothing is lost, changed, out of order, in two hands or tried for ever', async () => {
  const outcome = await crashRounds(4, 20_250_101)
  expect(outcome.violations).toEqual([])
  expect(outcome.confirmed).toBeGreaterThan(50)
  expect(outcome.kills).toBeGreaterThan(8)
  expect(outcome.selfKills).toBeGreaterThan(3)
  expect(outcome.dead.killer).toBeGreaterThan(0)
}, 120_000)

test('a message that kills its process becomes a dead letter, and those beside it do not', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'cozebus-deadly-'))
  await using bus = await connect(`file:${dir}`)
  await bus.publishMany(
    'deadly',
    Array.from({ length: 8 }, (_, i) => ({ deadly: i === 3 })),
  )
  let deaths = 0
  let worker: ReturnType<typeof spawn>
  let over = false
  const start = (): void => {
    worker = spawn(process.execPath, [new URL('./deadly.ts', import.meta.url).pathname, `file:${dir}`], { stdio: 'inherit' })
    worker.once('exit', () => {
      if (over) return
      deaths++
      start()
    })
  }
  onTestFinished(() => {
    over = true
    worker.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  })
  start()
  const letters = bus.admin.deadLetters('deadly', 'g')
  await expect.poll(() => letters.count(), { timeout: 25_000 }).toBe(1)
  await expect.poll(() => bus.admin.lag('deadly', 'g'), { timeout: 10_000 }).toBe(0)
  const [letter] = await letters.list()
  expect(letter).toMatchObject({ body: { deadly: true }, crashes: 3, error: expect.stringContaining('3 times') })
  expect(await letters.count()).toBe(1)
  expect(deaths).toBe(4)
}, 60_000)

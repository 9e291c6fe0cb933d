import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { connect } from '../../src/index.ts'

const dir = mkdtempSync(join(tmpdir(), 'cozebus-'))
const url = `file:${dir}/store`
const children = new Set<ChildProcess>()
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await rm(dir, { recursive: true, force: true })
})

test('publishers and workers are killed at random: nothing confirmed is lost, and each key keeps its order', async () => {
  const confirmed = new Set<string>()
  const finished = new Map<string, number[]>()
  const done = new Set<string>()
  const start = (role: 'publish' | 'work', name: string): ChildProcess => {
    const child = spawn(process.execPath, ['test/crash/member.ts', role, url, name], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.add(child)
    let text = ''
    child.stdout!.on('data', (chunk) => {
      text += chunk
      const lines = text.split('\n')
      text = lines.pop()!
      for (const line of lines) {
        const [what, id, key, i] = line.split(' ') as [string, string, string, string]
        if (what === 'ok') confirmed.add(id)
        if (what === 'done' && !done.has(id)) {
          done.add(id)
          finished.set(key, [...(finished.get(key) ?? []), Number(i)])
        }
      }
    })
    child.on('close', () => children.delete(child))
    return child
  }
  let workers = [start('work', 'w0'), start('work', 'w1')]
  for (let round = 0; round < 3; round++) {
    const publisher = start('publish', `p${round}`)
    await new Promise((resolve) => setTimeout(resolve, 1500 + Math.random() * 500))
    const victim = workers[round % 2]!
    victim.kill('SIGKILL')
    publisher.kill('SIGKILL')
    workers = workers.map((worker, i) => (worker === victim ? start('work', `w${round + 1}${i}`) : worker))
  }
  const missing = (): string[] => [...confirmed].filter((id) => !done.has(id))
  await expect.poll(() => missing().length, { timeout: 40_000, interval: 100 }).toBe(0)
  expect(confirmed.size).toBeGreaterThan(100)
  for (const [key, order] of finished) expect(order, `key ${key}`).toEqual(order.toSorted((a, b) => a - b))
  for (const child of children) child.kill('SIGKILL')
  await expect.poll(() => children.size, { timeout: 5000 }).toBe(0)
  await using bus = await connect(url)
  expect(await bus.admin.deadLetters('crash', 'g').count()).toBe(0)
}, 90_000)

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fromSource } from '../../bench/built.ts'
import { ended, serving } from '../../bench/child.ts'

const busy = `
  const end = Date.now() + 300
  while (Date.now() < end);
  const held = Buffer.alloc(100e6, 1)
  setTimeout(() => {
    const { user, system } = process.cpuUsage()
    console.log((user + system) / 1e6 + held.length - 100e6)
  }, 200)`

test.runIf(existsSync('/proc/self/stat'))(
  'a process that has ended: the processor time that it used by its own word, and its memory at the highest',
  async () => {
    const { printed, cpu, peak } = await ended(process.execPath, ['--eval', busy])
    // It goes on for a moment after its word, and the kernel counts by 10 ms.
    expect(cpu).toBeGreaterThan(Number(printed) - 0.02)
    expect(cpu).toBeLessThan(Number(printed) + 0.5)
    expect(peak).toBeGreaterThan(100)
  },
)

test('a side that fails says why', async () => {
  const { sides, library } = fromSource()
  const work = JSON.stringify({ library, url: 'nats://127.0.0.1:1', topic: 'nowhere', count: 10, size: 1, window: 1, nats: {} })
  const failing = ended(process.execPath, [join(sides, 'run.ts'), join(sides, 'ours.ts'), 'publish', work])
  await expect(failing).rejects.toThrow(/publish: .*127\.0\.0\.1:1/)
})

test('one that serves is there until it is ended; one that ends before it served is an error', async () => {
  const end = await serving(process.execPath, ['--eval', 'console.log("ready"); setInterval(() => {}, 1000)'])
  await end()
  await expect(serving(process.execPath, ['--eval', '0'])).rejects.toThrow('ended before it served')
})

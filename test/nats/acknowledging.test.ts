import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, onTestFinished, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { type NatsUser, passwordAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { describeNats } from '../rig/needs.ts'

const users = (permissions: string): NatsUser[] => [
  { user: 'rig', password: 'rig' },
  { user: 'me', password: 'me', permissions },
]

function warnings(): string[] {
  const heard: string[] = []
  const hear = (event: unknown): void => void heard.push(String((event as { error: unknown }).error))
  subscribe('cozebus:warning', hear)
  onTestFinished(() => void unsubscribe('cozebus:warning', hear))
  return heard
}

await describeNats('a user who may not acknowledge', (version) => {
  for (const order of ['none', 'key'] as const)
    test(`is told so, repeats little, and goes on once it may: order '${order}'`, async () => {
      await using server = await startNats({ version, access: passwordAccess(users('publish: { deny: "$JS.ACK.>" }')) })
      const heard = warnings()
      await using bus = await connect(server.url, { nats: { user: 'me', password: 'me', reconnectWaitMs: 50, reconnectJitterMs: 0 } })
      for (let i = 0; i < 40; i++) await bus.publish('jobs', i, { key: String(i) })
      let handled = 0
      const work = await bus.subscribe('jobs', { group: 'g', concurrency: 4, lease: '1s', order }, () => void handled++)
      await vi.waitFor(async () => expect((await bus.health()).ok).toBe(false), 5000)
      expect((await bus.health()).detail).toMatch(/group 'g': this user may not publish to \$JS\.ACK\..*allow \$JS\.ACK\.>/)
      expect(work.status()).toMatchObject({ state: 'slowed', trouble: expect.stringContaining('$JS.ACK.') })
      expect(heard).toContainEqual(expect.stringContaining('allow $JS.ACK.>'))
      await new Promise((resolve) => setTimeout(resolve, 3500))
      // Those that were on at once, then one at a time, each as long as its lease.
      expect(handled).toBeLessThanOrEqual(16)
      expect(await bus.admin.lag('jobs', 'g')).toBe(40)

      await server.reload({ access: passwordAccess(users('publish: { allow: ">" }')) })
      await vi.waitFor(async () => expect(await bus.admin.lag('jobs', 'g')).toBe(0), 20_000)
      expect(await bus.health()).toMatchObject({ ok: true, subscriptions: [{ state: 'running', trouble: undefined }] })
      await work.close()
    }, 40_000)
})

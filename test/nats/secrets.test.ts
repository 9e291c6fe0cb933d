import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { inspect, promisify } from 'node:util'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import { jwtAccess, nkeyAccess, tokenAccess } from '../rig/access.ts'
import { startNats } from '../rig/nats.ts'
import { natsVersions } from '../rig/nats-server.ts'
import { describeNats } from '../rig/needs.ts'
import { eager, folder, refusal } from './support.ts'

const place = folder()
const run = promisify(execFile)
const main = join(import.meta.dirname, '../../src/cli/main.ts')

/** Whatever could be printed of it: the chain of causes, hidden fields, stacks. */
const all = (value: unknown): string => inspect(value, { depth: 20, showHidden: true, maxStringLength: null, getters: false })

await describeNats(
  'a secret',
  (version) => {
    test('is in no error, no warning, no health and no inspection', async () => {
      const jwt = await jwtAccess()
      const stranger = await jwtAccess()
      const nkey = nkeyAccess()
      const secrets = ['Pa55/w@rd', 'T0k3nT0k3n', stranger.jwt, stranger.seed, nkey.seed, encodeURIComponent('Pa55/w@rd')]
      const printed: string[] = []
      const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => printed.push(String(text)) > 0)
      await using server = await startNats({ version, access: jwt })
      const at = `127.0.0.1:${server.port}`
      const errors = [
        await refusal(server.url, { user: 'me', password: 'Pa55/w@rd' }),
        await refusal(`nats://me:${encodeURIComponent('Pa55/w@rd')}@${at}`),
        await refusal(`nats://me:Pa55/w@rd@${at}`),
        await refusal(`nats://me:Pa55/w@rd@${at}?x`),
        await refusal('nats://me:Pa55/w@rd@127.0.0.1:1', { connectTimeoutMs: 500 }),
        await refusal('foo://me:Pa55/w@rd@127.0.0.1:1'),
        await refusal(server.url, { token: 'T0k3nT0k3n' }),
        await refusal(`nats://T0k3nT0k3n@${at}`),
        await refusal(server.url, { nkey: nkey.seed }),
        await refusal(server.url, { nkey: `${nkey.seed}X` }),
        await refusal(server.url, { creds: stranger.creds }),
        await refusal(server.url, { creds: stranger.creds.replace('BEGIN', 'BGIN') }),
        await refusal(server.url, { jwt: stranger.jwt, nkey: stranger.seed }),
        await refusal(server.url, { jwt: `${stranger.jwt}.x`, nkey: stranger.seed }),
        await refusal(server.url, { jwt: stranger.jwt.replaceAll('.', '/') }),
        await refusal(server.url, { user: 'me', password: { of: 'Pa55/w@rd' } as unknown as string }),
      ]
      const bus = await connect(server.url, { nats: { ...eager, creds: jwt.creds } })
      await server.restart({ access: stranger })
      await vi.waitFor(async () => expect((await bus.health()).ok).toBe(false), 10_000)
      const seen = [...errors.map(all), all(bus), all(bus.status()), all(await bus.health())]
      await bus.close()
      await expect(bus.publish('a', 1)).rejects.toSatisfy((error) => seen.push(all(error)) > 0)
      write.mockRestore()
      for (const secret of [...secrets, jwt.jwt, jwt.seed])
        for (const text of [...seen, ...printed]) expect(text.includes(secret) ? text : '').toBe('')
    })

    test('stays out of what the command line prints', async () => {
      await using server = await startNats({ version, access: tokenAccess('T0k3nT0k3n') })
      const at = `127.0.0.1:${server.port}`
      const outputs = await Promise.all(
        [`nats://T0k3nT0k3n@${at}`, `nats://me:Pa55@${at}`, `nats://me:Pa55@127.0.0.1:1`].map((url) =>
          run(process.execPath, [main, 'doctor', '--json'], {
            env: { ...process.env, COZEBUS_URL: url, COZEBUS_DEBUG: '1' },
            cwd: place.path,
          }).catch((error: { stdout: string; stderr: string }) => error),
        ),
      )
      for (const { stdout, stderr } of outputs) {
        expect(stdout).not.toBe('')
        expect(stdout + stderr).not.toMatch(/T0k3n|Pa55/)
      }
    })
  },
  natsVersions.slice(0, 1),
)

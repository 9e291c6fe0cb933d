import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { jetstreamManager } from '@nats-io/jetstream'
import { createInbox, type Msg, type NatsConnection } from '@nats-io/transport-node'
import { expect, test, vi } from 'vitest'
import { connect } from '../../src/bus.ts'
import type { Finding } from '../../src/engines/engine.ts'
import { examineVersion } from '../../src/engines/nats/doctor/versions.ts'
import { examine } from '../../src/index.ts'
import { passwordAccess } from '../rig/access.ts'
import { makeCertificates } from '../rig/certificates.ts'
import { startCluster } from '../rig/cluster.ts'
import { startNats } from '../rig/nats.ts'
import { natsCli } from '../rig/nats-server.ts'
import { describeNats } from '../rig/needs.ts'
import { documented, folder } from './support.ts'

const place = folder()
const run = promisify(execFile)
const main = join(import.meta.dirname, '../../src/cli/main.ts')
const cozebus = (...args: string[]) => [process.execPath, [main, ...args]] as const
const environment = { cwd: place.path, env: { ...process.env, NODE_NO_WARNINGS: '1', NO_COLOR: '1' } }

const short = (findings: readonly Finding[]): string[] => findings.map(({ check, level, detail }) => `${level} ${check} ${detail}`)

/** One message of a consumer, held from now on. */
async function next(client: NatsConnection, stream: string, consumer: string): Promise<Msg> {
  const inbox = createInbox()
  const replies = client.subscribe(inbox, { max: 1 })
  client.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, '', { reply: inbox })
  for await (const message of replies) return message
  throw new Error('no message')
}

test('versions that are known to lose something', () => {
  expect(examineVersion('2.10.22')[0]).toMatchObject({ level: 'problem', advice: expect.stringContaining('2.10.23') })
  expect(examineVersion('2.9.1')[0]!.level).toBe('problem')
  expect(examineVersion('2.12.2').map(({ advice }) => advice)).toHaveLength(3)
  for (const version of ['2.10.29', '2.14.0', '2.15.2', '2.15.0-dev']) expect(examineVersion(version)).toMatchObject([{ level: 'ok' }])
})

await describeNats('the doctor', (version) => {
  test('goes the way step by step, and stops where it ends', async () => {
    const certificates = await makeCertificates()
    await using server = await startNats({ version, access: passwordAccess(), tls: { certificates }, jetstream: false })
    const { ca } = certificates.paths
    const at = `localhost:${server.port}`
    const levels = async (url: string, nats: object) => (await examine(url, { nats })).map(({ check, level }) => `${level} ${check}`)
    expect(await levels('nats://127.0.0.1:1', {})).toEqual(['problem TCP'])
    expect(await levels('nats://no-such-host.invalid', { connectTimeoutMs: 5000 })).toEqual(['problem DNS'])
    expect(await levels(`nats://${at}`, {})).toEqual(['ok DNS', 'ok TCP', 'ok NATS', 'problem TLS'])
    expect(await levels(`nats://${at}`, { tls: { ca } })).toEqual(['ok DNS', 'ok TCP', 'ok NATS', 'ok TLS', 'problem credentials'])
    const login = { user: 'rig', password: 'rig-password', tls: { ca } }
    expect(await levels(`nats://${at}`, login)).toEqual(['ok DNS', 'ok TCP', 'ok NATS', 'ok TLS', 'ok credentials', 'problem JetStream'])
    await server.restart({ jetstream: true })
    expect((await levels(`nats://${at}`, login)).slice(-2)).toEqual(['ok credentials', 'ok JetStream'])
    certificates.remove()
  })

  test('sees what is wrong with streams and groups', async () => {
    await using server = await startNats({ version })
    const admin = await server.connect()
    const jsm = await jetstreamManager(admin)
    await jsm.streams.add({ name: 'SMALL', subjects: ['small'], max_msgs: 5 })
    await jsm.consumers.add('SMALL', { durable_name: 'slow', ack_policy: 'explicit', max_deliver: 3 })
    await jsm.streams.add({ name: 'BIG', subjects: ['big'], duplicate_window: 3_600e9 })
    await jsm.consumers.add('BIG', { durable_name: 'late', ack_policy: 'explicit', max_deliver: -1 })
    admin.publish('small', 'first')
    await next(admin, 'SMALL', 'slow').then((message) => message.respond('+ACK'))
    for (let i = 0; i < 9; i++) admin.publish('small', 'x')
    for (let i = 0; i < 10_001; i++) admin.publish('big', 'x')
    await admin.flush()
    await vi.waitFor(async () => expect((await jsm.streams.info('BIG')).state.messages).toBe(10_001), 10_000)
    await using bus = await connect(server.url)
    const findings = short(await bus.diagnose())
    const says = (level: string, check: string, text: string | RegExp): void =>
      expect(findings).toContainEqual(
        expect.stringMatching(new RegExp(`^${level} ${check} .*${typeof text === 'string' ? text : text.source}`)),
      )
    says('warning', 'stream', 'SMALL: past 5 messages the oldest are deleted')
    says('problem', 'group', 'slow on SMALL: up to \\d messages were deleted before')
    says('warning', 'group', 'slow on SMALL: the server gives up on a message after 3 deliveries')
    says('note', 'stream', 'BIG: remembers ids for 3600 s')
    says('warning', 'group', 'late on BIG: 10001 messages wait, and nobody fetches any')
    says('ok', 'groups', '1 without a server-side max_deliver: by design')
    says('ok', 'clock', 'within')
    says('ok', 'permissions', 'everything is allowed')
    says('warning', 'durability', 'not synced')
    await admin.close()
  })

  test('redeliveries that are no accident, and a group that max_ack_pending has stopped', async () => {
    await using server = await startNats({ version })
    const admin = await server.connect()
    const jsm = await jetstreamManager(admin)
    await jsm.streams.add({ name: 'S', subjects: ['s'] })
    await jsm.consumers.add('S', { durable_name: 'g', ack_policy: 'explicit', ack_wait: 300e6, max_ack_pending: 10 })
    for (let i = 0; i < 10; i++) admin.publish('s', 'x')
    for (let i = 0; i < 20; i++) await next(admin, 'S', 'g')
    await using bus = await connect(server.url)
    const findings = short(await bus.diagnose())
    expect(findings).toContainEqual(expect.stringMatching(/^warning group g on S: \d+ of 10 in hand were delivered before/))
    expect(findings).toContainEqual(expect.stringMatching(/^problem group g on S: 10 unacknowledged are all that max_ack_pending allows/))
    await admin.close()
  })

  test('permissions that are missing for what is configured, and no others', async () => {
    const allowed = documented.replace('publish: { allow: [', 'publish: { allow: [ "$SYS.REQ.USER.INFO",')
    const without = (...subjects: string[]): string =>
      subjects.reduce((text, subject) => {
        expect(text).toContain(`"${subject}"`)
        return text.replaceAll(`"${subject}"`, '"elsewhere"')
      }, allowed)
    const users = {
      all: allowed,
      some: without('$JS.ACK.>', '$KV.COZEBUS_OWNERS.>', '$JS.EVENT.ADVISORY.STREAM.>'),
    }
    await using server = await startNats({
      version,
      access: passwordAccess([
        { user: 'rig', password: 'rig' },
        ...Object.entries(users).map(([user, permissions]) => ({ user, password: user, permissions })),
      ]),
    })
    const lacking = async (user: string, provision: 'off' | 'create') => {
      await using bus = await connect(server.url, { nats: { user, password: user, provision } })
      return (await bus.diagnose()).filter(({ check }) => check === 'permissions').map(({ level, detail }) => `${level} ${detail}`)
    }
    expect(await lacking('all', 'off')).toEqual(['ok enough for what is configured'])
    const streams = 'problem no permission for making streams (publish $JS.API.STREAM.CREATE.*)'
    expect(await lacking('all', 'create')).toEqual([streams])
    const missing = [
      'problem no permission for acknowledging (publish $JS.ACK.*.*.1.1.1.1.0)',
      'problem no permission for owning a part of a group (publish $KV.COZEBUS_OWNERS.*)',
    ]
    const deaf = [
      'problem no permission to subscribe to $KV.COZEBUS_OWNERS.*',
      'note no permission to subscribe to $JS.EVENT.ADVISORY.STREAM.CREATED.*',
    ]
    expect(await lacking('some', 'off')).toEqual([...missing, ...deaf])
    expect(await lacking('some', 'create')).toEqual([...missing, streams, ...deaf])
  })

  test('a clock that is apart, and how long a backlog takes at the rate of now', async () => {
    await using server = await startNats({ version })
    await using bus = await connect(server.url)
    await bus.publishMany(
      'slow',
      Array.from({ length: 12_000 }, (_, i) => i),
    )
    const work = await bus.subscribe('slow', { group: 'g', concurrency: 4 }, () => sleep(20))
    const real = Date.now
    vi.spyOn(Date, 'now').mockImplementation(() => real() - 90_000)
    const findings = await bus.diagnose()
    vi.restoreAllMocks()
    expect(findings).toContainEqual({
      check: 'clock',
      level: 'warning',
      detail: expect.stringMatching(/^the server's clock is (8999|9000)\d ms ahead of this machine's/),
      advice: expect.stringContaining('NTP'),
    })
    expect(findings).toContainEqual({
      check: 'group',
      level: 'warning',
      detail: expect.stringMatching(/^g on slow_STREAM: \d+ messages wait, at \d+\/s that is \d+ minutes/),
      advice: expect.stringContaining('concurrency'),
    })
    await work.close({ deadlineMs: 1000 })
  }, 20_000)

  test('as a command: JSON, exit code 1 for a problem', async () => {
    await using server = await startNats({ version })
    const { stdout } = await run(...cozebus('doctor', '--json', '--url', server.url), environment)
    const rows = JSON.parse(stdout) as (Finding & { ok: boolean })[]
    expect(rows.every(({ ok }) => ok)).toBe(true)
    expect(rows.map(({ check }) => check)).toEqual(expect.arrayContaining(['TCP', 'credentials', 'JetStream', 'round trip', 'permissions']))
    mkdirSync(join(place.path, 'nats/context'), { recursive: true })
    place.file('nats/context/here.json', JSON.stringify({ url: server.url }))
    const env = { ...environment.env, XDG_CONFIG_HOME: place.path }
    const byContext = await run(...cozebus('doctor', '--json', '--context', 'here'), { ...environment, env })
    expect(JSON.parse(byContext.stdout)).toContainEqual(
      expect.objectContaining({ check: 'TCP', detail: expect.stringContaining(`:${server.port}`) }),
    )
    const failed = await run(...cozebus('doctor', '--url', 'nats://127.0.0.1:1'), environment).catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 1, stdout: expect.stringContaining('FAIL TCP') })
  })

  test("the guide's own commands work beside ours, whatever the body", async () => {
    await using server = await startNats({ version })
    const nats = await natsCli()
    const follow = (program: string, args: readonly string[]) => {
      const child = spawn(program, args, { ...environment, stdio: ['ignore', 'pipe', 'pipe'] })
      let printed = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (printed += String(text)))
      const end = (): Promise<unknown> => {
        child.kill('SIGTERM')
        return once(child, 'close')
      }
      return { printed: () => printed, end }
    }
    const ours = follow(...cozebus('sub', 'coze.>', '--url', server.url))
    const theirs = follow(nats, ['--server', server.url, 'sub', 'coze.>'])
    const pub = (...args: string[]) => run(nats, ['--server', server.url, 'pub', ...args], environment)
    // Until both listen.
    await vi.waitFor(
      async () => {
        await pub('coze.test', 'hello world')
        expect(ours.printed()).toContain('hello world')
        expect(theirs.printed()).toContain('hello world')
      },
      { timeout: 20_000, interval: 300 },
    )
    await pub('coze.test', '{"id": 7123456789012345678}')
    await pub('coze.workflow.7.done', '')
    await run(...cozebus('pub', 'coze.test', '{"from":"cozebus"}', '--url', server.url), environment)
    await vi.waitFor(() => {
      expect(ours.printed()).toContain('7123456789012345678')
      expect(ours.printed()).toContain('coze.workflow.7.done')
      expect(ours.printed()).toContain('{"from":"cozebus"}')
      expect(theirs.printed()).toContain('{"from":"cozebus"}')
    }, 10_000)
    await Promise.all([ours.end(), theirs.end()])
  }, 60_000)
})

await describeNats('the doctor of a cluster', (version) => {
  test('compares copies with servers', async () => {
    await using cluster = await startCluster({ version })
    await using bus = await connect(cluster.url, { nats: { replicas: 1 } })
    await bus.publish('single', 1)
    await using wide = await connect(cluster.url, { nats: { replicas: 3 } })
    await wide.publish('wide', 1)
    const found = short(await bus.diagnose())
    expect(found).toContainEqual('warning stream single_STREAM: 1 of 3 servers hold it')
    expect(found.filter((line) => line.includes('wide_STREAM') && line.startsWith('problem'))).toEqual([])
  }, 90_000)

  test('names the copies of a server that is away, and a stream that has no other', async () => {
    await using cluster = await startCluster({ version })
    const survivor = cluster.nodes[0]!
    await using bus = await connect(survivor.url, { nats: { replicas: 3 } })
    await bus.publish('wide', 1)
    const admin = await survivor.connect()
    const jsm = await jetstreamManager(admin)
    // The one that leads JetStream itself, where it is not the one that we are connected to.
    const victim = cluster.nodes.find((node) => node !== survivor)!
    for (let i = 0; i < 9; i++) await jsm.streams.add({ name: `ONE_${i}`, subjects: [`one.${i}`] })
    const single: string[] = []
    for await (const { config, cluster: at } of jsm.streams.list())
      if (at?.leader === victim.name && config.num_replicas === 1) single.push(config.name)
    await victim.kill()
    const found = await bus.diagnose()
    expect(found).toContainEqual({
      check: 'stream',
      level: 'problem',
      detail: `wide_STREAM: its copy on ${victim.name} is away`,
      advice: expect.stringContaining(`start ${victim.name} again`),
    })
    for (const name of single)
      expect(short(found)).toContainEqual(expect.stringMatching(new RegExp(`^problem stream ${name}: nobody answers for it`)))
    expect(short(found).filter((line) => / on 2 servers/.test(line))).toEqual([])
    // Lists wait for what has no leader.
    expect((await bus.admin.topics()).map(({ storage }) => storage)).toContain('wide')
    await admin.close()
  }, 120_000)
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, wsconnect } from '@nats-io/transport-node'
import { expect, test, vi } from 'vitest'
import { type Access, jwtAccess, nkeyAccess, passwordAccess, tokenAccess } from './access.ts'
import { makeCertificates } from './certificates.ts'
import { startCluster } from './cluster.ts'
import { startNats } from './nats.ts'
import { natsVersions } from './nats-server.ts'
import { describeNats } from './needs.ts'
import { startProxy } from './proxy.ts'

await describeNats('the servers', (version) => {
  test('one keeps what was published over kill -9 and a restart, at the same address', async () => {
    await using server = await startNats({ version, syncInterval: 'always' })
    const before = await server.connect()
    // The wheel that stands in where Go is missing may be another patch.
    expect(before.info!.version.split('.').slice(0, 2)).toEqual(version.split('.').slice(0, 2))
    await (await jetstreamManager(before)).streams.add({ name: 'KEPT', subjects: ['kept'] })
    await jetstream(before).publish('kept', 'hello')
    await before.close()

    const { url, pid } = server
    await server.kill()
    expect(server.pid).toBe(undefined)
    await server.restart()
    expect(server.url).toBe(url)
    expect(server.pid).not.toBe(pid)

    const after = await server.connect()
    const { state } = await (await jetstreamManager(after)).streams.info('KEPT')
    expect(state.messages).toBe(1)
    await after.close()
  })

  test('a client comes back through a proxy that was cut', async () => {
    await using server = await startNats({ version, jetstream: false })
    await using proxy = await startProxy(server.port)
    const client = await server.connect({ servers: `127.0.0.1:${proxy.port}`, ignoreClusterUpdates: true, reconnectTimeWait: 20 })
    const back = (async () => {
      for await (const { type } of client.status()) if (type === 'reconnect') return
    })()
    proxy.cut()
    await back
    await client.flush()
    await client.close()
  })

  test('one that cannot start says why', async () => {
    await using server = await startNats({ version, jetstream: false })
    await expect(startNats({ version, port: server.port })).rejects.toThrow('address already in use')
    await expect(startNats({ version, config: 'no_such_thing: 1' })).rejects.toThrow('no_such_thing')
  })

  test('a cluster of three makes a stream of three copies; nodes come and go', async () => {
    await using cluster = await startCluster({ version })
    const client = await cluster.nodes[0]!.connect({ servers: cluster.url.split(',') })
    const jsm = await jetstreamManager(client)
    await jsm.streams.add({ name: 'WIDE', subjects: ['wide'], num_replicas: 3 })
    const leader = await cluster.leaderOf('WIDE')
    expect(await cluster.stepDown('WIDE')).not.toBe(leader)

    const added = [await cluster.addNode(), await cluster.addNode()]
    await jsm.streams.update('WIDE', { num_replicas: 5 })
    for (const node of added) await cluster.removeNode(node)
    expect(cluster.nodes).toHaveLength(3)
    expect(cluster.running).toHaveLength(3)
    await jetstream(client).publish('wide', 'hello')
    await client.close()
  }, 90_000)

  test('a lame duck sends its clients to the others, ends, and comes back', async () => {
    await using cluster = await startCluster({ version })
    const [duck] = cluster.nodes
    const client = await duck!.connect({ reconnectTimeWait: 50 })
    const moved = (async () => {
      for await (const { type } of client.status()) if (type === 'reconnect') return
    })()
    await duck!.lameDuck()
    await moved
    expect(client.info!.server_name).not.toBe(duck!.name)
    await duck!.restart()
    await cluster.ready()
    expect(cluster.running).toHaveLength(3)
    await client.close()
  }, 90_000)
})

const ways: [string, () => Promise<Access> | Access][] = [
  ['a token', tokenAccess],
  ['user and password', passwordAccess],
  ['an NKey', nkeyAccess],
  ['a JWT', jwtAccess],
]
const stranger = { user: 'stranger', pass: 'strange' }

await describeNats('the door', (version) => {
  test.each(ways)('opens to %s and to nobody without', async (_, access) => {
    await using server = await startNats({ version, access: await access() })
    const client = await server.connect()
    await (await jetstreamManager(client)).streams.add({ name: 'MINE', subjects: ['mine'] })
    await client.close()
    await expect(connect({ servers: server.url, ...stranger })).rejects.toThrow(/authorization/i)
  })

  test('a reload changes who may enter', async () => {
    await using server = await startNats({ version, access: passwordAccess() })
    await server.reload({ access: passwordAccess([{ user: stranger.user, password: stranger.pass }]) })
    await (await connect({ servers: server.url, ...stranger })).close()
  })

  test('TLS: only with its CA, and where asked with a certificate of the client', async () => {
    const certificates = await makeCertificates()
    await using server = await startNats({ version, tls: { certificates, verify: true }, websocket: true })
    await (await server.connect()).close()
    const { ca, clientCert, clientKey } = certificates.paths
    const refused = (tls: object): Promise<unknown> =>
      connect({ servers: server.url, tls, reconnect: false }).then((client) => client.close())
    await expect(refused({ certFile: clientCert, keyFile: clientKey })).rejects.toThrow(/certificate/)
    await expect(refused({ caFile: ca })).rejects.toThrow()
    certificates.remove()
  })

  test('WebSocket', async () => {
    await using server = await startNats({ version, websocket: true })
    const client = await wsconnect({ servers: server.websocketUrl })
    await client.flush()
    await client.close()
  })
})

await describeNats(
  'an orphan',
  () => {
    test('dies with its test, and its data goes too, even when that was killed', async () => {
      const runner = spawn(process.execPath, [join(import.meta.dirname, 'orphan.ts')], { stdio: ['ignore', 'pipe', 'inherit'] })
      const [line] = await once(createInterface({ input: runner.stdout }), 'line')
      const { pid, dir } = JSON.parse(line)
      expect([runs(pid), existsSync(dir)]).toEqual([true, true])
      runner.kill('SIGKILL')
      await vi.waitFor(() => expect([runs(pid), existsSync(dir)]).toEqual([false, false]), 10_000)
    })
  },
  natsVersions.slice(0, 1),
)

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

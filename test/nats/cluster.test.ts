import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { streamName } from '../../src/engines/nats/names.ts'
import { type NatsCluster, startCluster } from '../rig/cluster.ts'
import { describeNats } from '../rig/needs.ts'
import { Load, type LoadOptions } from './load.ts'

await describeNats('a cluster of three under load', (version) => {
  let cluster: NatsCluster
  let load: Load
  beforeAll(async () => {
    cluster = await startCluster({ version })
  }, 90_000)
  afterEach(() => load?.end())
  afterAll(() => cluster?.stop())

  const under = async (options: LoadOptions = {}): Promise<Load> => {
    load = new Load(() => cluster.url, { replicas: 3, ...options })
    await load.join(3)
    await load.start()
    await load.recovered()
    return load
  }

  test('leaders step down: the one of the consumer, the one of the stream', async () => {
    const { storage } = await under()
    await load.calm(300)
    await cluster.stepDown(streamName(storage), 'g')
    await load.recovered()
    const gap = load.longestGapMs
    // nats.js's own loop stands still for 12 to 43 s here.
    expect(gap).toBeLessThan(4000)
    await cluster.stepDown(streamName(storage))
    await load.recovered()
    await load.judge()
  }, 60_000)

  test('SIGKILL: the leader, then the node we are connected to', async () => {
    const { storage } = await under({ partitioned: true })
    const leader = await cluster.leaderOf(streamName(storage))
    await leader.kill()
    await load.recovered()
    await leader.start()
    await cluster.ready()
    await cluster.nodes[0]!.kill()
    await load.recovered()
    await cluster.nodes[0]!.start()
    await cluster.ready()
    await load.judge()
  }, 90_000)

  test('a lame duck, and a restart of one after the other', async () => {
    await under()
    const gone = cluster.nodes[0]!.lameDuck()
    await load.recovered()
    await gone
    await cluster.nodes[0]!.start()
    await cluster.ready()
    for (const node of cluster.nodes) {
      await node.restart()
      await cluster.ready()
      await load.recovered()
    }
    await load.judge()
  }, 90_000)

  test('members and nodes join and leave: three, five, three', async () => {
    await under({ partitioned: true })
    await load.join(2)
    const added = [await cluster.addNode(), await cluster.addNode()]
    await load.leave()
    for (const node of added) await cluster.removeNode(node)
    await load.leave()
    await load.recovered()
    await load.judge()
  }, 90_000)
})

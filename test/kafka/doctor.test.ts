import { Admin } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Bus, connect } from '../../src/bus.ts'
import { shell } from '../cli/support.ts'
import { having } from '../findings.ts'
import { type KafkaNode, startKafka } from '../rig/kafka.ts'
import { describeKafka } from '../rig/needs.ts'
import { eager } from './support.ts'

await describeKafka('what the doctor sees of Kafka', () => {
  let node: KafkaNode
  let bus: Bus
  beforeAll(async () => {
    node = await startKafka()
    // Of its own, it would make the topic of a ledger whenever it comes to it.
    bus = await connect(node.url, { kafka: eager, ledger: 'memory:' })
  }, 120_000)
  afterAll(async () => {
    await bus?.close()
    await node?.stop()
  })

  test('a sound broker, and how long it remembers groups', async () => {
    await bus.publish('sound', 1)
    const found = await bus.diagnose()
    expect(found.filter(({ level }) => level === 'warning' || level === 'problem')).toEqual([])
    expect(found).toContainEqual({ check: 'broker', level: 'ok', detail: `broker 1 (${node.address}) answers` })
    expect(found).toContainEqual(having('note', 'groups', /forgotten .* 7 days/, /offsets\.retention\.minutes/))
  })

  test('topics whose settings delete what nobody has read, and a ledger that would', async () => {
    const admin = new Admin({ clientId: 'rig', bootstrapBrokers: [node.address] })
    const make = (topic: string, configs: Record<string, string>) =>
      admin.createTopics({
        topics: [topic],
        partitions: 1,
        replicas: 1,
        configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
      })
    await make('aging', { 'retention.ms': '3600000' })
    await make('squeezed', { 'cleanup.policy': 'compact', 'unclean.leader.election.enable': 'true' })
    await make('_cozebus.ledger', { 'cleanup.policy': 'delete' })
    await admin.close()
    const found = await bus.diagnose()
    expect(found).toContainEqual(having('note', 'topic', /^aging: .*3600 s is deleted, whether/, /retention\.ms=-1/))
    expect(found).toContainEqual(having('warning', 'topic', /^squeezed: it is compacted/, /cleanup\.policy=delete/))
    expect(found).toContainEqual(having('warning', 'topic', /^squeezed: a broker that lags/, /unclean/))
    expect(found).toContainEqual(having('problem', 'ledger', /cleanup\.policy=delete/, /cleanup\.policy=compact/))
  })

  test('a group that nobody reads; and the command tells all of it', async () => {
    await (await bus.subscribe('left', { group: 'gone' }, () => {})).close()
    await bus.publish('left', 1)
    await expect.poll(() => bus.diagnose()).toContainEqual(having('warning', 'group', /^gone on left: 1 messages wait, and no member/))
    const checks = JSON.parse((await shell().run(['doctor', '--url', node.url, '--json'])).out) as { check: string; ok: boolean }[]
    expect(checks.map(({ check, ok }) => `${check} ${ok}`)).toEqual(
      expect.arrayContaining(['round trip true', 'broker true', 'ledger false']),
    )
  })
})

import { toBusError } from '../../errors.ts'
import { byTopic, examineGroups, inSections, type Said, spanOf } from '../diagnosing.ts'
import type { Finding, GroupInfo, StorageName } from '../engine.ts'
import type { Cluster, Topic } from './cluster.ts'
import { ledgerTopic } from './names.ts'

export interface Examined {
  readonly cluster: Cluster
  readonly storages: () => Promise<ReadonlyMap<StorageName, Topic>>
  readonly groups: (storage: StorageName) => Promise<readonly GroupInfo[]>
}

/** Who holds the copies of a topic's partitions. */
interface Copies {
  readonly name: string
  readonly leaders: readonly number[]
  readonly replicas: readonly (readonly number[])[]
  readonly inSync: readonly number[]
}

type Settings = ReadonlyMap<string, string>

/** Looks at each broker, the copies and settings of topics, and at what waits for groups. */
export async function diagnose(examined: Examined): Promise<readonly Finding[]> {
  const { cluster } = examined
  await cluster.refresh([])
  let storages: ReadonlyMap<StorageName, Topic> = new Map()
  return inSections([
    async () => (await Promise.all(cluster.nodes.map((node) => examineBroker(cluster, node)))).flat(),
    () => examinePlaces(cluster),
    async () => {
      storages = await examined.storages()
      return examineTopics(cluster, storages)
    },
    () => examineLedger(cluster),
    () => examineGroups(storages.keys(), examined.groups),
  ])
}

async function examineBroker(cluster: Cluster, node: number): Promise<Finding[]> {
  const { host, port } = cluster.address(node)!
  const what = `broker ${node} (${host}:${port})`
  try {
    await cluster.ask(await cluster.node(node), 'Metadata', [], false, false)
    return [{ check: 'broker', level: 'ok', detail: `${what} answers` }]
  } catch (error) {
    return [
      {
        check: 'broker',
        level: 'problem',
        detail: `${what} cannot be reached: ${toBusError(error).message}`,
        advice: 'start it; where it runs, it tells an address that cannot be reached from here: advertised.listeners',
      },
    ]
  }
}

/** Kafka forgets where a group stands in which nobody is. */
async function examinePlaces(cluster: Cluster): Promise<Finding[]> {
  const [node] = cluster.nodes
  const minutes = Number(
    (await settingsOf(cluster, 4, [String(node)], ['offsets.retention.minutes'])).get(String(node))?.get('offsets.retention.minutes'),
  )
  if (!Number.isFinite(minutes)) return []
  return [
    {
      check: 'groups',
      level: 'note',
      detail: `where a group stands is forgotten when nobody was in it for ${spanOf(minutes * 60_000)}`,
      advice: 'raise offsets.retention.minutes where groups rest longer: a group that was forgotten begins anew',
    },
  ]
}

async function examineTopics(cluster: Cluster, storages: ReadonlyMap<StorageName, Topic>): Promise<Finding[]> {
  const names = [...storages.values()].map(({ name }) => name)
  if (names.length === 0) return []
  const storageOf = new Map([...storages].map(([storage, { name }]) => [name, storage]))
  const wanted = ['min.insync.replicas', 'unclean.leader.election.enable', 'retention.ms', 'cleanup.policy']
  const [copies, settings] = await Promise.all([copiesOf(cluster, names), settingsOf(cluster, 2, names, wanted)])
  const said = copies.flatMap((topic) =>
    examineTopic(storageOf.get(topic.name) ?? topic.name, topic, settings.get(topic.name), cluster.nodes),
  )
  return [...byTopic(said), { check: 'topics', level: 'ok', detail: `${names.length} looked at` }]
}

function examineTopic(
  storage: string,
  { leaders, replicas, inSync }: Copies,
  settings: Settings | undefined,
  nodes: readonly number[],
): Said[] {
  const findings: Said[] = []
  const say = (level: Finding['level'], detail: string, advice: string): void => {
    findings.push({ topic: storage, check: 'topic', level, detail, advice })
  }
  const headless = leaders.flatMap((leader, partition) => (leader < 0 ? [partition] : []))
  if (headless.length > 0)
    say(
      'problem',
      `nobody leads ${partitions(headless)}`,
      `start the brokers that hold them: ${[...new Set(headless.flatMap((i) => replicas[i]!))]}`,
    )
  const copies = Math.min(...replicas.map(({ length }) => length))
  // More than there are copies is not asked for.
  const needed = Math.min(copies, Number(settings?.get('min.insync.replicas') ?? 1))
  const few = inSync.flatMap((count, partition) => (count < needed && leaders[partition]! >= 0 ? [partition] : []))
  const behind = inSync.flatMap((count, partition) => (count >= needed && count < replicas[partition]!.length ? [partition] : []))
  if (few.length > 0)
    say(
      'problem',
      `too few copies of ${partitions(few)} are there (min.insync.replicas ${needed}): nothing can be published`,
      'start the brokers that hold the others',
    )
  if (behind.length > 0)
    say('problem', `copies of ${partitions(behind)} are away or behind`, 'start the brokers that hold them; they catch up by themselves')
  if (copies === 1 && nodes.length > 1)
    say('warning', `one copy on ${nodes.length} brokers`, 'with kafka.replicas: 3 and min.insync.replicas 2 it survives the loss of one')
  else if (copies > 1 && needed === 1)
    say(
      'warning',
      `${copies} copies, and a confirm may mean one of them (min.insync.replicas 1)`,
      'set it to 2: what one broker alone has is lost with it',
    )
  if (settings?.get('unclean.leader.election.enable') === 'true')
    say('warning', 'a broker that lags may become the leader, and what it lacks is lost', 'unclean.leader.election.enable=false')
  if (settings?.get('cleanup.policy')?.includes('compact'))
    say('warning', 'it is compacted: of each key the newest message alone stays, read or not', 'cleanup.policy=delete')
  const keptMs = Number(settings?.get('retention.ms') ?? -1)
  if (keptMs >= 0)
    say(
      'note',
      `what is older than ${spanOf(keptMs)} is deleted, whether a group has read it or not`,
      'retention.ms=-1 where that must not be',
    )
  return findings
}

async function examineLedger(cluster: Cluster): Promise<Finding[]> {
  const topic = await cluster.topic(ledgerTopic)
  if (!topic) return []
  const [[copies], settings] = await Promise.all([
    copiesOf(cluster, [ledgerTopic]),
    settingsOf(cluster, 2, [ledgerTopic], ['cleanup.policy']),
  ])
  const findings: Finding[] = []
  const policy = settings.get(ledgerTopic)?.get('cleanup.policy')
  if (policy !== undefined && policy !== 'compact')
    findings.push({
      check: 'ledger',
      level: 'problem',
      detail: `${ledgerTopic} has cleanup.policy=${policy}: dead letters, attempts and schedules are deleted by age`,
      advice: 'cleanup.policy=compact',
    })
  if (copies && copies.replicas[0]?.length === 1 && cluster.nodes.length > 1)
    findings.push({
      check: 'ledger',
      level: 'warning',
      detail: `${ledgerTopic} has one copy on ${cluster.nodes.length} brokers`,
      advice: 'raise its replicas: dead letters and attempts are lost with that broker',
    })
  return findings
}

async function copiesOf(cluster: Cluster, names: readonly string[]): Promise<Copies[]> {
  const { topics } = await cluster.whole(await cluster.any(), 'Metadata', [...names], false, false)
  return topics.flatMap(({ name, errorCode, partitions: found }) => {
    if (!name || errorCode !== 0) return []
    const sorted = found.toSorted((a, b) => a.partitionIndex - b.partitionIndex)
    return [
      {
        name,
        leaders: sorted.map(({ leaderId }) => leaderId),
        replicas: sorted.map(({ replicaNodes }) => replicaNodes),
        inSync: sorted.map(({ isrNodes }) => isrNodes.length),
      },
    ]
  })
}

/** Of topics (2) or brokers (4), as far as this user may see them. */
async function settingsOf(
  cluster: Cluster,
  resourceType: 2 | 4,
  names: readonly string[],
  keys: readonly string[],
): Promise<Map<string, Settings>> {
  const asked = names.map((resourceName) => ({ resourceType, resourceName, configurationKeys: [...keys] }))
  const connection = resourceType === 4 ? await cluster.node(Number(names[0])) : await cluster.any()
  const { results } = await cluster.whole(connection, 'DescribeConfigs', asked, false, false)
  return new Map(
    results.map(({ resourceName, configs }) => [
      resourceName,
      new Map((configs ?? []).flatMap(({ name, value }) => (value == null ? [] : [[name, value] as const]))),
    ]),
  )
}

const partitions = (numbers: readonly number[]): string =>
  numbers.length === 1 ? `partition ${numbers[0]}` : `partitions ${numbers.join(', ')}`

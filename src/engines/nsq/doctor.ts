import { toBusError } from '../../errors.ts'
import { examineQueue, longest, type Queue } from '../diagnosing.ts'
import type { Finding } from '../engine.ts'
import type { Cluster } from './cluster.ts'
import { isEphemeral, type Names } from './names.ts'
import type { Nsqd } from './nsqd.ts'
import { heldBy, type TopicStats, topicsAt } from './stats.ts'

/** Looks at each nsqd, its settings and what waits there. */
export async function diagnose(cluster: Cluster, names: Names): Promise<readonly Finding[]> {
  const asked = cluster.nodes.map((nsqd) => examineNsqd(nsqd, names, cluster.lookup !== undefined))
  return [...(await examineLookups(cluster)), ...(await Promise.all(asked)).flat()]
}

async function examineLookups({ lookup }: Cluster): Promise<Finding[]> {
  const silent = (await lookup?.silent()) ?? []
  return silent.map((why) => ({
    check: 'lookup',
    level: 'warning',
    detail: why,
    advice: 'start it: what only it knows is not found, and with the last one nothing new is',
  }))
}

async function examineNsqd(nsqd: Nsqd, names: Names, found: boolean): Promise<Finding[]> {
  const { name, info, trouble } = nsqd
  if (nsqd.connection === undefined || info === undefined)
    return [
      {
        check: 'nsqd',
        level: 'problem',
        detail: `${name} is away: ${trouble?.message ?? 'no answer yet'}`,
        advice: found
          ? 'start it; where it runs, nsqlookupd tells an address that cannot be reached from here: nsqd --broadcast-address'
          : 'start it, or take it out of the address: what it holds is read by nobody until it is back',
      },
    ]
  const findings = [examineVersion(name, info.version)]
  try {
    const setting = async (option: string): Promise<number> => Number(await nsqd.ask('GET', `/config/${option}`))
    const [memory, syncEvery] = await Promise.all([setting('mem_queue_size'), setting('sync_every')])
    findings.push(examineDurability(name, memory, syncEvery))
    findings.push(...examineQueues(name, await topicsAt(nsqd), names))
  } catch (error) {
    findings.push({
      check: 'http',
      level: 'warning',
      detail: `${name}: ${toBusError(error).message}`,
      advice: 'its limits are guessed, and bus.admin fails: open its HTTP port, or say by nsq.http where it is',
    })
  }
  return findings
}

function examineVersion(name: string, version: string): Finding {
  const detail = `${name}: nsqd ${version}`
  if (Number.parseInt(version, 10) >= 1) return { check: 'nsqd', level: 'ok', detail }
  return { check: 'nsqd', level: 'problem', detail, advice: 'upgrade to 1.0 or later' }
}

function examineDurability(name: string, memory: number, syncEvery: number): Finding {
  const check = 'durability'
  if (memory > 0)
    return {
      check,
      level: 'warning',
      detail: `${name}: up to ${memory} messages of each topic and group are in memory alone, and lost by a kill or a crash of nsqd`,
      advice: 'nsqd --mem-queue-size=0 --sync-every=1',
    }
  if (syncEvery > 1)
    return {
      check,
      level: 'warning',
      detail: `${name}: queues are on disk, and written down every ${syncEvery} messages: after a kill the newest are lost, and what was read comes again`,
      advice: 'nsqd --sync-every=1',
    }
  return { check, level: 'ok', detail: `${name}: queues are on disk; a kill loses what is in flight or delayed` }
}

function examineQueues(name: string, topics: readonly TopicStats[], names: Names): Finding[] {
  const queues: Queue[] = []
  const say = (held: number, level: Finding['level'], what: string, detail: string, advice: string): void => {
    queues.push({ check: 'group', level, detail: `${what} (${name}): ${detail}`, advice, held })
  }
  for (const { topic_name, depth, channels, paused } of topics) {
    if (isEphemeral(topic_name)) continue
    const topic = names.original(topic_name)
    if (paused) say(depth, 'problem', topic, `paused by an operator, ${depth} messages wait`, resume)
    else if (channels.length === 0 && depth > 0)
      say(depth, 'note', topic, `${depth} messages wait, and no group is there`, 'the first one gets them; purge the topic where none will')
    for (const channel of channels) {
      if (isEphemeral(channel.channel_name)) continue
      const held = heldBy(channel)
      const group = `${names.original(channel.channel_name)} on ${topic}`
      if (channel.paused) say(held, 'problem', group, `paused by an operator, ${held} messages wait`, resume)
      else queues.push(...examineQueue(`${group} (${name})`, held, channel.client_count))
    }
  }
  return longest(queues, name)
}

const resume = 'nothing comes from it before somebody resumes it, by nsqadmin or its HTTP side'

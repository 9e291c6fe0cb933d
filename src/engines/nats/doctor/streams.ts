import type { ConsumerInfo, PeerInfo, StreamInfo } from '@nats-io/jetstream'
import type { Finding } from '../../engine.ts'

/** A copy is heard of every second; the server itself calls it late after ten, or later. */
const silentNanos = 5e9
const doubtfulNanos = 1.5e9

/** Redeliveries above this part of what is in hand are no accident. */
const redeliveredPart = 0.1
const backlogMessages = 10_000

/** What a stream's configuration does to messages, before it does. */
export function examineStream({ config, state, cluster }: StreamInfo, servers: number): Finding[] {
  const findings: Finding[] = []
  const say = (level: Finding['level'], detail: string, advice: string): void => {
    findings.push({ check: 'stream', level, detail: `${config.name}: ${detail}`, advice })
  }
  const copies = config.num_replicas
  if (servers >= 3 && copies < 3)
    say('warning', `${copies} of ${servers} servers hold it`, 'with three copies (nats.replicas: 3) it survives the loss of one server')
  if (copies > servers && servers > 0)
    say('problem', `${copies} copies on ${servers} servers`, 'it cannot be written safely: add servers or lower the copies')
  if (copies % 2 === 0)
    say('warning', `${copies} copies`, `an even number survives no more than ${copies - 1} does: take ${copies - 1} or ${copies + 1}`)
  const others = cluster?.replicas ?? []
  const away = others.filter(isAway)
  const behind = others.filter((peer) => !isAway(peer) && !peer.current)
  if (away.length > 0)
    say(
      'problem',
      `its copy on ${namesOf(away)} is away`,
      `start ${namesOf(away)} again, or remove it from the cluster for good, so that another server gets the copy; until then one more loss may stop it`,
    )
  if (behind.length > 0)
    say(
      'problem',
      `its copy on ${namesOf(behind)} is behind`,
      'it catches up by itself; where it does not, look at that server: until then one more loss may stop the stream',
    )
  // Its limits are the bus's own.
  if (isOwn(config.name)) return findings
  const replaces = config.discard === 'old'
  const limits = [
    replaces && config.max_msgs > 0 && `${config.max_msgs} messages`,
    replaces && config.max_bytes > 0 && `${config.max_bytes} bytes`,
    config.max_age > 0 && `${Math.round(config.max_age / 1e9)} s`,
    config.max_msgs_per_subject > 0 && `${config.max_msgs_per_subject} a subject`,
  ].filter((limit) => limit !== false)
  if (limits.length > 0)
    say(
      state.consumer_count > 0 ? 'warning' : 'note',
      `past ${limits.join(', ')} the oldest are deleted, read or not`,
      "a group that is away for longer loses them: leave this to the topic's retention, which waits for groups, or see that they never are",
    )
  if (limits.length === 0 && replaces && config.retention === 'limits')
    say(
      'note',
      `keeps everything (${state.messages} messages, ${state.bytes} bytes)`,
      'give the topic a retention, which the bus keeps, or the disk decides',
    )
  const windowMs = config.duplicate_window / 1e6
  if (windowMs > 600_000)
    say('note', `remembers ids for ${windowMs / 1000} s`, 'each costs some 150 bytes of memory: two minutes are enough for the bus')
  if (windowMs < 10_000)
    say('note', `remembers ids for ${windowMs / 1000} s only`, 'clients that send again later store a message twice: two minutes are usual')
  return findings
}

/** A leader that is new has heard nothing yet of one that was away before. */
/** A bucket of the bus: what all topics have there is as safe as its copies. */
export function isOwn(stream: string): boolean {
  return /^(KV|OBJ)_COZEBUS_/.test(stream)
}

function isAway({ offline, active, current }: PeerInfo): boolean {
  return offline === true || active > silentNanos || (!current && active === 0)
}

/** A copy was not heard of for a moment: it may be away, or about to be heard. */
export function isUncertain({ cluster }: StreamInfo): boolean {
  return (cluster?.replicas ?? []).some(
    ({ offline, active, current }) => offline !== true && active <= silentNanos && (active > doubtfulNanos || !current),
  )
}

function namesOf(peers: readonly PeerInfo[]): string {
  return peers.map(({ name }) => name).join(', ')
}

/** How a group fares. */
export function examineConsumer(stream: StreamInfo, info: ConsumerInfo, ratePerSecond: number): Finding[] {
  const findings: Finding[] = []
  const { config, num_pending: pending, num_ack_pending: inHand, num_redelivered: redelivered, ack_floor: floor } = info
  const say = (level: Finding['level'], detail: string, advice: string): void => {
    findings.push({ check: 'group', level, detail: `${info.name} on ${info.stream_name}: ${detail}`, advice })
  }
  const gone = stream.state.first_seq - 1 - Math.max(floor.stream_seq, 0)
  if (gone > 0 && floor.stream_seq > 0 && stream.config.retention === 'limits')
    say(
      'problem',
      `up to ${gone} messages were deleted before the group had settled them`,
      'raise the limits of the stream, or the speed of the group',
    )
  if (config.max_deliver !== undefined && config.max_deliver > 0)
    say(
      'warning',
      `the server gives up on a message after ${config.max_deliver} deliveries and tells nobody`,
      "leave max_deliver at -1: attempts are counted by the bus, which makes a dead letter; restarts would use the server's up",
    )
  const waitMs = (config.ack_wait ?? 0) / 1e6
  if (inHand >= 10 && redelivered / inHand > redeliveredPart)
    say(
      'warning',
      `${redelivered} of ${inHand} in hand were delivered before`,
      `handlers fail, or are slower than the lease of ${waitMs / 1000} s for clients that do not extend it: subscribe with a longer lease`,
    )
  if ((config.max_ack_pending ?? 0) > 0 && inHand >= config.max_ack_pending!)
    say(
      'problem',
      `${inHand} unacknowledged are all that max_ack_pending allows: nothing new is delivered`,
      'raise max_ack_pending, or see why handlers do not finish',
    )
  if (pending > backlogMessages) {
    const seconds = ratePerSecond > 0 ? pending / ratePerSecond : Number.POSITIVE_INFINITY
    const how =
      ratePerSecond > 0 ? `at ${Math.round(ratePerSecond)}/s that is ${Math.round(seconds / 60)} minutes` : 'and nobody fetches any'
    const members =
      ratePerSecond > 0
        ? 'twice the concurrency, or as many members again, halve that where handlers wait for something else'
        : 'start a member'
    say('warning', `${pending} messages wait, ${how}`, members)
  }
  if (info.push_bound !== undefined || config.deliver_subject !== undefined)
    say('note', 'is a push consumer', 'the bus pulls: it cannot join this group')
  return findings
}

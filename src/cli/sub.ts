import type { Command } from 'commander'
import { placeOrTime } from '../admin/place.ts'
import type { DeliveryContext, Message } from '../deliver/message.ts'
import { BusError } from '../errors.ts'
import { readableBody } from '../message/exact-json.ts'
import type { Selection } from '../topic/definition.ts'
import { checkPattern } from '../topic/name.ts'
import { add, type Common, open, optionsOf, storedTopics, whole } from './command.ts'
import { execute } from './execute.ts'
import { onStop } from './output.ts'
import { printMessage } from './print-message.ts'

interface SubOptions extends Common {
  readonly group?: string
  readonly exec?: string
  readonly limit?: string
  readonly from?: string
  readonly concurrency: string
}

export function addSub(program: Command): void {
  add(program, 'sub', 'follow a topic, or work for a group', ['sub docs.added', "sub docs.added --group indexer --exec 'jq .id'"])
    .argument('<topic>', 'a name or a pattern')
    .option('--group <group>', 'work for this group: each message to one member, until acknowledged')
    .option(
      '--exec <command>',
      "run a command a message, body on standard input; exit code 0 acknowledges, others retry (group 'cli' without --group)",
    )
    .option('-n, --limit <n>', 'end after n messages')
    .option('--from <where>', 'where a new group begins: earliest (default), new, or a time (ISO 8601)')
    .option('--concurrency <n>', 'messages at once in a group', '8')
    .addHelpText('after', '\nA command finds COZEBUS_ID, _TOPIC, _KEY, _ATTEMPT, _PUBLISHED_AT and _HEADERS (JSON) in its environment.')
    .action((topic: string, _options, command: Command) => sub(topic, optionsOf<SubOptions>(command)))
}

/** @throws BusError `invalid_argument` */
function beginning(from: string | undefined): { from?: 'earliest' | 'new' | Date } {
  if (from === undefined) return {}
  const place = placeOrTime(from, '--from')
  if (place === 'earliest' || place === 'new' || place instanceof Date) return { from: place }
  throw new BusError('invalid_argument', `--from must be earliest, new or a time (ISO 8601), not '${from}'`)
}

/** Follows a topic live, or works for a group. Ends at the limit, or drains at Ctrl-C. */
async function sub(topic: string, options: SubOptions): Promise<void> {
  const limit = options.limit === undefined ? Number.POSITIVE_INFINITY : whole(options.limit, '--limit', 1, Number.MAX_SAFE_INTEGER)
  const concurrency = Math.min(limit, whole(options.concurrency, '--concurrency', 1, 10_000))
  const group = options.group ?? (options.exec ? 'cli' : undefined)
  if (group === undefined && options.from !== undefined)
    throw new BusError('invalid_argument', '--from is for a group; without one only what comes from now on is shown')
  const where = beginning(options.from)
  checkPattern(topic)
  const { handle, ended } = counted(limit, async (message, delivery) => {
    if (options.exec) await execute(options.exec, message, delivery?.attempt ?? 1, delivery?.signal)
    else printMessage(message, options.json ?? false)
  })
  const bus = await open(options)
  const stored = await storedTopics(bus)
  // A live subscription holds nothing open by itself.
  const alive = setInterval(() => {}, 60_000)
  try {
    const work =
      group === undefined
        ? await bus.subscribe(await anyBody(topic), (message) => handle({ ...message, body: readableBody(message.bytes) }))
        : await bus.subscribe(await stored.place(topic), { group, concurrency, ...where }, handle)
    onStop(() => bus.close())
    if (process.stderr.isTTY)
      process.stderr.write(`${group === undefined ? 'following' : `group ${group} works on`} ${topic}; Ctrl-C ends\n`)
    await ended
    // What is done is settled; what was taken beyond the limit goes back at once.
    await ('status' in work ? work.close({ deadlineMs: 0 }) : work.close())
  } finally {
    clearInterval(alive)
    await bus.close()
  }
}

/** Whatever others publish there is shown, JSON or not: only what is worked on has to be readable. */
async function anyBody(pattern: string): Promise<Selection> {
  const [{ topic }, { bytesCodec }] = await Promise.all([import('../topic/definition.ts'), import('../message/codec.ts')])
  return { definition: topic('followed', { codec: bytesCodec }), filter: pattern }
}

type Work = (message: Message, delivery?: DeliveryContext) => Promise<void>

/** Lets no more than `limit` through: a failure gives its place back, what comes beyond is held until the drain returns it. */
function counted(limit: number, work: Work): { handle: Work; ended: Promise<void> } {
  let taken = 0
  let finished = 0
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const handle: Work = async (message, delivery) => {
    if (taken >= limit) {
      // A place freed by a failure is for a retry or the next message: this one comes again after the drain.
      if (delivery) await new Promise((_, reject) => delivery.signal.addEventListener('abort', () => reject(delivery.signal.reason)))
      return
    }
    taken++
    try {
      await work(message, delivery)
    } catch (error) {
      taken--
      process.stderr.write(`cozebus: ${message.id}: ${error instanceof Error ? error.message : String(error)}\n`)
      throw error
    }
    finished++
    // After this handler has returned, so that the message counts as acknowledged.
    if (finished >= limit) setImmediate(end)
  }
  return { handle, ended }
}

import type { Command } from 'commander'
import { placeOrTime } from '../admin/place.ts'
import { BusError } from '../errors.ts'
import { add, type Common, optionsOf, topicText, whole, withStored } from './command.ts'
import { done, table } from './output.ts'
import { printMessage } from './print-message.ts'

export function addTopics(program: Command): void {
  const topics = add(program, 'topics', 'list topics, look into them, empty and delete them', ['topics', 'topics browse docs.added'])
  topics.action((_options, command: Command) => list(optionsOf(command)))
  add(topics, 'ls', 'list topics (the same as topics alone)', ['topics ls', 'topics ls --json']).action((_options, command: Command) =>
    list(optionsOf(command)),
  )
  add(topics, 'info', 'one topic with its groups', ['topics info docs.added', 'topics info docs.added --json'])
    .argument('<topic>', topicText)
    .action((topic: string, _options, command: Command) => info(topic, optionsOf(command)))
  add(topics, 'browse', 'print stored messages, without a group', [
    'topics browse docs.added --limit 5',
    'topics browse docs.added --from 2026-01-31T08:00:00Z --json',
  ])
    .argument('<topic>', topicText)
    .option('--from <where>', 'start, end, a position (messages after it), or a time (ISO 8601)', 'start')
    .option('--limit <n>', 'at most', '50')
    .action((topic: string, _options, command: Command) => browse(topic, optionsOf<BrowseOptions>(command)))
  add(topics, 'purge', 'delete the messages of a topic, whoever still wants them', [
    'topics purge docs.added --dry-run',
    'topics purge docs.added --before 1200',
  ])
    .argument('<topic>', 'a name, as the command topics lists it')
    .option('--before <position>', 'only those before this position')
    .option('--dry-run', 'only say how many there are')
    .action((topic: string, _options, command: Command) => purge(topic, optionsOf<PurgeOptions>(command)))
  add(topics, 'rm', 'delete a topic that has no members', ['topics rm old.topic --dry-run', 'topics rm docs.added --url file:./data'])
    .argument('<topic>', 'a name, as the command topics lists it')
    .option('--dry-run', 'only say what would go')
    .action((topic: string, _options, command: Command) => remove(topic, optionsOf<DryRun>(command)))
}

interface DryRun {
  readonly dryRun?: boolean
}

interface BrowseOptions {
  readonly from: string
  readonly limit: string
}

interface PurgeOptions extends DryRun {
  readonly before?: string
}

function list(options: Common): Promise<void> {
  return withStored(options, async (bus) => {
    const rows = (await bus.admin.topics()).map(({ storage, messages, bytes, scheduled, lastAt }) => ({
      topic: storage,
      messages,
      bytes,
      scheduled,
      last: lastAt === undefined ? undefined : new Date(lastAt),
    }))
    table(rows, options.json)
  })
}

function info(topic: string, options: Common): Promise<void> {
  return withStored(options, async (bus, stored) => {
    const storage = await stored.storage(topic)
    const found = (await bus.admin.topics()).find((one) => one.storage === storage)!
    const { messages, bytes, scheduled, firstAt, lastAt } = found
    const time = (at: number | undefined): Date | undefined => (at === undefined ? undefined : new Date(at))
    const row = { topic: storage, messages, bytes, scheduled, first: time(firstAt), last: time(lastAt) }
    const groups = await bus.admin.groups(storage)
    if (options.json) {
      process.stdout.write(`${JSON.stringify({ ...row, groups })}\n`)
      return
    }
    table([row])
    if (groups.length === 0) return
    process.stdout.write('\n')
    table(groups.map(({ group, lag, members, deadLetters, paused }) => ({ group, lag, members, deadLetters, paused })))
  })
}

function browse(topic: string, options: Common & BrowseOptions): Promise<void> {
  const limit = whole(options.limit, '--limit', 1, Number.MAX_SAFE_INTEGER)
  return withStored(options, async (bus, stored) => {
    const storage = await stored.storage(topic)
    let from = placeOrTime(options.from, '--from')
    let left = limit
    while (left > 0) {
      const page = await bus.admin.browse(storage, { from, limit: Math.min(left, 1000) })
      for (const message of page.messages) {
        // One name of a definition: its storage holds those of others too.
        if (storage !== topic && message.topic !== topic) continue
        printMessage(message, options.json ?? false, { position: message.position })
        left--
      }
      if (page.messages.length === 0) return
      from = page.next
    }
  })
}

function purge(topic: string, options: Common & PurgeOptions): Promise<void> {
  const { before, dryRun, json } = options
  if (dryRun && before !== undefined)
    throw new BusError('invalid_argument', '--dry-run counts all messages; look at those before a position with: topics browse')
  return withStored(options, async (bus) => {
    if (dryRun) {
      const messages = (await bus.admin.topics()).find(({ storage }) => storage === topic)?.messages
      if (messages === undefined) throw new BusError('not_found', `there is no topic '${topic}'`)
      done({ dryRun, topic, messages }, `${messages} would be deleted from ${topic}`, json)
      return
    }
    const purged = await bus.admin.purge(topic, before === undefined ? {} : { before })
    done({ purged }, `${purged} deleted from ${topic}`, json)
  })
}

function remove(topic: string, options: Common & DryRun): Promise<void> {
  return withStored(options, async (bus) => {
    if (options.dryRun) {
      const found = (await bus.admin.topics()).find(({ storage }) => storage === topic)
      if (!found) throw new BusError('not_found', `there is no topic '${topic}'`)
      const groups = (await bus.admin.groups(topic)).map(({ group }) => group)
      const { messages, scheduled } = found
      const sentence = `${topic} would be deleted, with ${messages} messages, ${scheduled} scheduled, and ${groups.length} groups`
      done({ dryRun: true, topic, messages, scheduled, groups }, sentence, options.json)
      return
    }
    await bus.admin.deleteTopic(topic)
    done({ deleted: topic }, `${topic} is deleted`, options.json)
  })
}

import type { Command } from 'commander'
import type { GroupView } from '../admin/admin.ts'
import { placeOrTime } from '../admin/place.ts'
import type { Bus } from '../bus.ts'
import { add, type Common, optionsOf, topicText, withStored } from './command.ts'
import { done, table } from './output.ts'

interface ChangeOptions extends Common {
  readonly to: string
  readonly dryRun?: boolean
}

export function addGroups(program: Command): void {
  const groups = add(program, 'groups', 'show, pause, resume, move and delete the groups of a topic', [
    'groups docs.added',
    'groups pause docs.added indexer',
  ])
  groups.argument('[topic]', topicText).action((topic: string | undefined, _options, command: Command) => {
    if (topic === undefined) return command.help({ error: true })
    return list(topic, optionsOf(command))
  })
  add(groups, 'ls', 'list with lag (the same as groups <topic>)', ['groups ls docs.added', 'groups ls docs.added --json'])
    .argument('<topic>', topicText)
    .action((topic: string, _options, command: Command) => list(topic, optionsOf(command)))
  add(groups, 'lag', 'print how many messages a group has not settled, a number alone', [
    'groups lag docs.added indexer',
    'groups lag docs.added indexer --json',
  ])
    .argument('<topic>', topicText)
    .argument('<group>', 'a group of it')
    .action((topic: string, group: string, _options, command: Command) => lag(topic, group, optionsOf(command)))
  on(groups, 'pause', 'stop handing out messages', (bus, { storage, group }) => bus.admin.pause(storage, group), 'is paused')
  on(groups, 'resume', 'hand out messages again', (bus, { storage, group }) => bus.admin.resume(storage, group), 'is resumed')
  on(groups, 'reset', 'move a group that has no members', reset, 'is moved').option(
    '--to <where>',
    'earliest, new, a position, or a time (ISO 8601)',
    'earliest',
  )
  on(groups, 'rm', 'delete a group that has no members', remove, 'is deleted').option('--dry-run', 'only say what would go')
}

/** Resolves to a sentence where it only said what it would do. */
type Change = (bus: Bus, group: GroupView, options: ChangeOptions) => Promise<unknown>

function on(parent: Command, name: string, description: string, change: Change, outcome: string): Command {
  return add(parent, name, description, [`groups ${name} docs.added indexer`, `groups ${name} docs.added indexer --url file:./data`])
    .argument('<topic>', topicText)
    .argument('<group>', 'a group of it')
    .action((topic: string, group: string, _options, command: Command) => {
      const options = optionsOf<ChangeOptions>(command)
      return withStored(options, async (bus, stored) => {
        // Looked up first: a mistyped name must not pass for a group that is changed.
        const found = await bus.admin.group(await stored.storageOfGroup(topic, group), group)
        const instead = await change(bus, found, options)
        if (typeof instead === 'string') done({ dryRun: true, ...found }, instead, options.json)
        else done({ topic: found.storage, group, done: name }, `group ${group} of ${found.storage} ${outcome}`, options.json)
      })
    })
}

const reset: Change = async (bus, { storage, group }, { to }) => {
  await bus.admin.reset(storage, group, { to: placeOrTime(to, '--to') })
}

const remove: Change = async (bus, { storage, group, lag, deadLetters }, { dryRun }) => {
  if (dryRun) return `group ${group} of ${storage} would be deleted: ${lag} messages not settled, ${deadLetters} dead letters`
  await bus.admin.deleteGroup(storage, group)
}

function list(topic: string, options: Common): Promise<void> {
  return withStored(options, async (bus, stored) => {
    const rows = (await bus.admin.groups(await stored.storage(topic))).map(
      ({ group, lag, inHand, waiting, members, deadLetters, paused }) => ({ group, lag, inHand, waiting, members, deadLetters, paused }),
    )
    table(rows, options.json)
  })
}

function lag(topic: string, group: string, options: Common): Promise<void> {
  return withStored(options, async (bus, stored) => {
    const { lag, oldestMs } = await bus.admin.group(await stored.storageOfGroup(topic, group), group)
    process.stdout.write(options.json ? `${JSON.stringify({ lag, oldestMs })}\n` : `${lag}\n`)
  })
}

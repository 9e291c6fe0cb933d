import type { Command } from 'commander'
import type { Bus } from '../bus.ts'
import { add, optionsOf, withBus } from './command.ts'
import { done, table } from './output.ts'

export function addGroups(program: Command): void {
  const groups = add(program, 'groups', 'show, pause, resume, move and delete the groups of a topic', [
    'groups docs.added',
    'groups pause docs.added indexer',
  ])
  groups.argument('[topic]').action((topic: string | undefined, _options, command: Command) => {
    if (topic === undefined) return command.help({ error: true })
    return list(topic, command)
  })
  add(groups, 'ls', 'list with lag (the same as groups <topic>)', ['groups ls docs.added', 'groups ls docs.added --json'])
    .argument('<topic>')
    .action((topic: string, _options, command: Command) => list(topic, command))
  on(groups, 'pause', 'stop handing out messages', (bus, topic, group) => bus.admin.pause(topic, group), 'is paused')
  on(groups, 'resume', 'hand out messages again', (bus, topic, group) => bus.admin.resume(topic, group), 'is resumed')
  on(groups, 'rm', 'delete a group that has no members', (bus, topic, group) => bus.admin.deleteGroup(topic, group), 'is deleted')
  on(
    groups,
    'reset',
    'move a group that has no members',
    (bus, topic, group, to) => bus.admin.reset(topic, group, { to: /^\d{4}-\d\d-\d\dT/.test(to) ? new Date(to) : to }),
    'is moved',
  ).option('--to <where>', 'earliest, new, a position, or a time (ISO 8601)', 'earliest')
}

type Change = (bus: Bus, topic: string, group: string, to: string) => Promise<void>

function on(parent: Command, name: string, description: string, change: Change, outcome: string): Command {
  return add(parent, name, description, [`groups ${name} docs.added indexer`, `groups ${name} docs.added indexer --url file:./data`])
    .argument('<topic>')
    .argument('<group>')
    .action((topic: string, group: string, _options, command: Command) => {
      const options = optionsOf<{ to: string }>(command)
      return withBus(options, async (bus) => {
        await change(bus, topic, group, options.to)
        done({ topic, group, done: name }, `group ${group} of ${topic} ${outcome}`, options.json)
      })
    })
}

function list(topic: string, command: Command): Promise<void> {
  const options = optionsOf(command)
  return withBus(options, async (bus) => {
    const rows = (await bus.admin.groups(topic)).map(({ group, lag, inHand, waiting, members, deadLetters, paused }) => ({
      group,
      lag,
      inHand,
      waiting,
      members,
      deadLetters,
      paused,
    }))
    table(rows, options.json)
  })
}

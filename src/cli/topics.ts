import type { Command } from 'commander'
import { add, optionsOf, withBus } from './command.ts'
import { done, table } from './output.ts'

export function addTopics(program: Command): void {
  const topics = add(program, 'topics', 'list, delete and empty topics', ['topics', 'topics purge docs.added'])
  add(topics, 'ls', 'list topics (the same as topics alone)', ['topics ls', 'topics ls --json']).action((_options, command: Command) =>
    list(command),
  )
  topics.action((_options, command: Command) => list(command))
  add(topics, 'rm', 'delete a topic that has no members', ['topics rm old.topic', 'topics rm docs.added --url file:./data'])
    .argument('<topic>')
    .action((topic: string, _options, command: Command) => {
      const options = optionsOf(command)
      return withBus(options, async (bus) => {
        await bus.admin.deleteTopic(topic)
        done({ deleted: topic }, `${topic} is deleted`, options.json)
      })
    })
  add(topics, 'purge', 'delete the messages of a topic, whoever still wants them', [
    'topics purge docs.added',
    'topics purge docs.added --before 1200',
  ])
    .argument('<topic>')
    .option('--before <position>', 'only those before this position')
    .action((topic: string, _options, command: Command) => {
      const options = optionsOf<{ before?: string }>(command)
      return withBus(options, async (bus) => {
        const purged = await bus.admin.purge(topic, options.before === undefined ? {} : { before: options.before })
        done({ purged }, `${purged} deleted from ${topic}`, options.json)
      })
    })
}

function list(command: Command): Promise<void> {
  const options = optionsOf(command)
  return withBus(options, async (bus) => {
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

#!/usr/bin/env node
import { Command, CommanderError, Option } from 'commander'
import { type Bus, connect } from '../bus.ts'
import { BusError } from '../errors.ts'
import { bench } from './bench.ts'
import { doctor } from './doctor.ts'
import { fail, table } from './output.ts'
import { pub } from './pub.ts'
import { serve } from './serve.ts'
import { sub } from './sub.ts'

const program = new Command('cozebus')
  .description('An event bus for agent platforms: publish, work through and look into topics.')
  .addHelpText(
    'after',
    '\nExit codes: 0 done · 1 failed · 2 wrong use · 3 no connection or store · 4 not confirmed in time · 5 refused · 6 not found · 7 not authorized',
  )
  .exitOverride()

const url = (): Option => new Option('--url <url>', 'where the bus is').env('COZEBUS_URL').default('file:./.cozebus')
const json = (): Option => new Option('--json', 'print JSON')
const example = (command: Command, ...lines: string[]): Command =>
  command
    .addHelpText('after', `\nExamples:\n${lines.map((line) => `  $ cozebus ${line}`).join('\n')}`)
    .addOption(url())
    .addOption(json())

async function withBus(options: { url: string }, action: (bus: Bus) => Promise<void>): Promise<void> {
  const bus = await connect(options.url)
  try {
    await action(bus)
  } finally {
    await bus.close()
  }
}

type Common = { url: string; json?: boolean }

example(program.command('serve').description('serve the bus over HTTP'), 'serve', 'serve --port 8080 --url file:./data')
  .addOption(new Option('--port <port>', 'port to listen on').env('PORT').default('4280'))
  .addOption(new Option('--host <host>', 'address to bind; beyond loopback a token is needed').env('COZEBUS_HOST').default('127.0.0.1'))
  .option('--log-level <level>', 'error, info or debug', 'error')
  .option('--log-format <format>', 'text or json', 'text')
  .option('--log-file <file>', 'where logs go; default standard error')
  .option('--max-body <bytes>', 'largest request', String(8 * 1024 * 1024))
  .action(serve)

example(
  program.command('pub').description('publish a body, or each JSON line of standard input'),
  `pub docs.added '{"id":"d1"}' --key d1`,
  'pub docs.added < lines.jsonl',
)
  .argument('<topic>')
  .argument('[body]', 'JSON; without it standard input is read')
  .option('--key <key>', 'what order is kept by')
  .option('--id <id>', 'the same id is stored once')
  .option('--header <name=value>', 'may be repeated', (pair: string, all: string[] = []) => [...all, pair])
  .option('--delay <time>', 'deliver after, for example 30s')
  .option('--raw', 'standard input is one body of bytes')
  .action(pub)

example(
  program.command('sub').description('follow a topic, or work for a group'),
  'sub docs.added',
  "sub docs.added --group indexer --exec 'jq .id'",
)
  .argument('<topic>', 'a name or a pattern')
  .option('--group <group>', 'work for this group: each message to one member, until acknowledged')
  .option('--exec <command>', 'run a command a message, body on standard input; exit code 0 acknowledges, others retry')
  .option('--limit <n>', 'end after n messages')
  .addOption(new Option('--from <where>', 'where a new group begins').choices(['earliest', 'new']).default('earliest'))
  .option('--concurrency <n>', 'messages at once', '8')
  .action(sub)

const topics = example(program.command('topics').description('list topics'), 'topics', 'topics rm old.topic').action((options: Common) =>
  withBus(options, async (bus) =>
    table(
      (await bus.admin.topics()).map(({ storage, messages, bytes, scheduled, lastAt }) => ({
        topic: storage,
        messages,
        bytes,
        scheduled,
        last: lastAt === undefined ? undefined : new Date(lastAt),
      })),
      options.json ?? false,
    ),
  ),
)
const sub1 = (parent: Command, name: string, description: string): Command =>
  parent.command(name).description(description).argument('<topic>').addOption(url()).addOption(json())
sub1(topics, 'rm', 'delete a topic').action((topic: string, options: Common) => withBus(options, (bus) => bus.admin.deleteTopic(topic)))
sub1(topics, 'purge', 'delete the messages of a topic').action((topic: string, options: Common) =>
  withBus(options, async (bus) => table([{ purged: await bus.admin.purge(topic) }], options.json ?? false)),
)

const groups = program.command('groups').description('groups of a topic')
sub1(groups, 'ls', 'list with lag').action((topic: string, options: Common) =>
  withBus(options, async (bus) =>
    table(
      (await bus.admin.groups(topic)).map(({ group, lag, inHand, waiting, members, deadLetters, paused }) => ({
        group,
        lag,
        inHand,
        waiting,
        members,
        deadLetters,
        paused,
      })),
      options.json ?? false,
    ),
  ),
)
sub1(groups, 'pause', 'stop handing out')
  .argument('<group>')
  .action((topic: string, group: string, options: Common) => withBus(options, (bus) => bus.admin.pause(topic, group)))
sub1(groups, 'resume', 'hand out again')
  .argument('<group>')
  .action((topic: string, group: string, options: Common) => withBus(options, (bus) => bus.admin.resume(topic, group)))
sub1(groups, 'reset', 'move a group without members')
  .argument('<group>')
  .option('--to <where>', 'earliest, new or a position', 'earliest')
  .action((topic: string, group: string, options: Common & { to: string }) =>
    withBus(options, (bus) => bus.admin.reset(topic, group, { to: options.to })),
  )
sub1(groups, 'rm', 'delete a group without members')
  .argument('<group>')
  .action((topic: string, group: string, options: Common) => withBus(options, (bus) => bus.admin.deleteGroup(topic, group)))

const dlq = program.command('dlq').description('dead letters of a group')
const desk = (name: string, description: string): Command => sub1(dlq, name, description).argument('<group>')
desk('ls', 'list')
  .option('--limit <n>', 'at most', '100')
  .action((topic: string, group: string, options: Common & { limit: string }) =>
    withBus(options, async (bus) =>
      table(
        (await bus.admin.deadLetters(topic, group).list({ limit: Number(options.limit) })).map(
          ({ id, topic: name, key, attempts, lastFailure, error }) => ({ id, topic: name, key, attempts, lastFailure, error }),
        ),
        options.json ?? false,
      ),
    ),
  )
desk('show', 'one, whole')
  .argument('<id>')
  .action((topic: string, group: string, id: string, options: Common) =>
    withBus(options, async (bus) => {
      const { bytes, ...letter } = await bus.admin.deadLetters(topic, group).get(id)
      process.stdout.write(`${JSON.stringify({ ...letter, base64: Buffer.from(bytes).toString('base64') }, null, options.json ? 0 : 2)}\n`)
    }),
  )
desk('replay', 'give them to the group again')
  .argument('[ids...]', 'all without')
  .action((topic: string, group: string, ids: string[], options: Common) =>
    withBus(options, async (bus) => {
      const progress = (done: number): void => {
        if (process.stderr.isTTY) process.stderr.write(`\r${done} replayed`)
      }
      table([{ replayed: await bus.admin.deadLetters(topic, group).replay(ids.length > 0 ? ids : {}, progress) }], options.json ?? false)
    }),
  )
desk('discard', 'delete them')
  .argument('[ids...]')
  .option('--all', 'every one')
  .action((topic: string, group: string, ids: string[], options: Common & { all?: boolean }) =>
    withBus(options, async (bus) => {
      if (ids.length === 0 && !options.all) throw new BusError('invalid_argument', 'give ids, or --all')
      table([{ discarded: await bus.admin.deadLetters(topic, group).discard(ids.length > 0 ? ids : {}) }], options.json ?? false)
    }),
  )
desk('export', 'one JSON line each').action((topic: string, group: string, options: Common) =>
  withBus(options, async (bus) => {
    for await (const { bytes, ...letter } of bus.admin.deadLetters(topic, group).export())
      process.stdout.write(`${JSON.stringify({ ...letter, base64: Buffer.from(bytes).toString('base64') })}\n`)
  }),
)

example(program.command('doctor').description('check this machine and the bus'), 'doctor', 'doctor --url file:./data --json').action(doctor)
example(program.command('bench').description('measure this bus'), 'bench', 'bench --messages 100000 --url memory:')
  .option('--messages <n>', 'how many', '20000')
  .option('--size <bytes>', 'of a body', '256')
  .action(bench)

try {
  await program.parseAsync()
} catch (error) {
  // Commander has said what is wrong already; help and version are no failures.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else fail(error)
}

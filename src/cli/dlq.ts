import type { Command } from 'commander'
import type { DeadLetterDesk, DeadLetterFilter, DeadLetterView } from '../admin/dead-letter-desk.ts'
import { BusError } from '../errors.ts'
import { add, type Common, optionsOf, whole, withBus } from './command.ts'
import { bodyView, done, progress, table } from './output.ts'

interface Choice extends Common {
  readonly all?: boolean
  readonly key?: string
  readonly error?: string
}

export function addDlq(program: Command): void {
  const dlq = add(program, 'dlq', 'dead letters of a group', ['dlq ls docs.added indexer', 'dlq replay docs.added indexer --all'])
  on(dlq, 'ls', 'list them', ['', '--limit 20 --json'], list)
    .option('--limit <n>', 'at most', '100')
    .option('--after <id>', 'the last id of the page before')
  on(dlq, 'show', 'one, whole', ['3f2a…', '3f2a… --json'], show).argument('<id>')
  choosing(on(dlq, 'replay', 'give them to the group again', ['3f2a…', '--error timeout'], replay))
  choosing(on(dlq, 'discard', 'delete them', ['3f2a…', '--all'], discard))
  on(dlq, 'export', 'one JSON line each', ['> letters.jsonl', '| jq .error'], exportAll)
}

type Action = (desk: DeadLetterDesk, rest: readonly unknown[], options: any) => Promise<void>

function on(parent: Command, name: string, description: string, ends: readonly [string, string], action: Action): Command {
  const example = (end: string): string => `dlq ${name} docs.added indexer ${end}`.trim()
  return add(parent, name, description, [example(ends[0]), example(ends[1])])
    .argument('<topic>')
    .argument('<group>')
    .action((topic: string, group: string, ...rest: unknown[]) => {
      const options = optionsOf(rest.at(-1) as Command)
      return withBus(options, (bus) => action(bus.admin.deadLetters(topic, group), rest.slice(0, -2), options))
    })
}

function choosing(command: Command): Command {
  return command
    .argument('[ids...]')
    .option('--all', 'every one')
    .option('--key <key>', 'those with this key')
    .option('--error <text>', 'those whose error holds this text')
}

/** Nothing chosen is refused: a forgotten id must not mean all of them. */
function chosen(ids: readonly string[], { all, key, error }: Choice): readonly string[] | DeadLetterFilter {
  const filter = { ...(key === undefined ? {} : { key }), ...(error === undefined ? {} : { error }) }
  const filtered = Object.keys(filter).length > 0
  if (ids.length > 0 && (filtered || all)) throw new BusError('invalid_argument', 'give ids, or --all, --key and --error, not both')
  if (ids.length > 0) return ids
  if (!filtered && !all) throw new BusError('invalid_argument', 'say which: ids, --key, --error, or --all')
  return filter
}

const list: Action = async (desk, _rest, options: Common & { limit: string; after?: string }) => {
  const limit = whole(options.limit, '--limit', 1, 100_000)
  const letters = await desk.list({ limit, ...(options.after === undefined ? {} : { after: options.after }) })
  const rows = letters.map(({ id, topic, key, attempts, lastFailure, error }) => ({ id, topic, key, attempts, lastFailure, error }))
  table(rows, options.json)
}

const show: Action = async (desk, [id], options: Common) => {
  process.stdout.write(`${JSON.stringify(view(await desk.get(id as string)), null, options.json ? 0 : 2)}\n`)
}

const replay: Action = async (desk, [ids], options: Choice) => {
  const replayed = await desk.replay(chosen(ids as string[], options), (count) => progress(`${count} replayed`))
  progress('')
  done({ replayed }, `${replayed} replayed`, options.json)
}

const discard: Action = async (desk, [ids], options: Choice) => {
  const discarded = await desk.discard(chosen(ids as string[], options))
  done({ discarded }, `${discarded} discarded`, options.json)
}

const exportAll: Action = async (desk) => {
  for await (const letter of desk.export()) process.stdout.write(`${JSON.stringify(view(letter))}\n`)
}

function view({ bytes: _, ...letter }: DeadLetterView) {
  return { ...letter, body: bodyView(letter.body) }
}

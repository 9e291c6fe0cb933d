import type { Command } from 'commander'
import type { DeadLetterDesk, DeadLetterFilter, DeadLetterView } from '../admin/dead-letter-desk.ts'
import { placeOrTime } from '../admin/place.ts'
import { BusError } from '../errors.ts'
import { bodyView } from '../message/exact-json.ts'
import { add, type Common, optionsOf, topicText, whole, withStored } from './command.ts'
import { done, progress, table } from './output.ts'

interface Choice extends Common {
  readonly all?: boolean
  readonly key?: string
  readonly error?: string
  readonly since?: string
  readonly until?: string
  readonly dryRun?: boolean
}

export function addDlq(program: Command): void {
  const dlq = add(program, 'dlq', 'dead letters of a group', ['dlq ls docs.added indexer', 'dlq replay docs.added indexer --all'])
  on(dlq, 'ls', 'list them', ['', '--limit 20 --json'], list)
    .option('--limit <n>', 'at most', '100')
    .option('--after <id>', 'the last id of the page before')
  on(dlq, 'show', 'one, whole', ['3f2a…', '3f2a… --json'], show).argument('<id>', 'as dlq ls prints it')
  choosing(on(dlq, 'replay', 'give them to the group again', ['3f2a…', '--error timeout'], replay))
  choosing(on(dlq, 'discard', 'delete them', ['3f2a…', '--all'], discard))
  on(dlq, 'export', 'one JSON line each', ['> letters.jsonl', '| jq .error'], exportAll)
}

type Action = (desk: DeadLetterDesk, rest: readonly unknown[], options: any) => Promise<void>

function on(parent: Command, name: string, description: string, ends: readonly [string, string], action: Action): Command {
  const example = (end: string): string => `dlq ${name} docs.added indexer ${end}`.trim()
  return add(parent, name, description, [example(ends[0]), example(ends[1])])
    .argument('<topic>', topicText)
    .argument('<group>', 'a group of it')
    .action((topic: string, group: string, ...rest: unknown[]) => {
      const options = optionsOf(rest.at(-1) as Command)
      return withStored(options, async (bus, stored) => {
        const storage = await stored.storageOfGroup(topic, group)
        const desk = bus.admin.deadLetters(storage, group)
        // A mistyped group must not pass for one without dead letters; those of a deleted group stay.
        if ((await desk.count()) === 0) await bus.admin.group(storage, group)
        await action(desk, rest.slice(0, -2), options)
      })
    })
}

function choosing(command: Command): Command {
  return command
    .argument('[ids...]', 'as dlq ls prints them')
    .option('--all', 'every one')
    .option('--key <key>', 'those with this key')
    .option('--error <text>', 'those whose error holds this text')
    .option('--since <time>', 'those that failed last at or after it (ISO 8601)')
    .option('--until <time>', 'those that failed last at or before it')
    .option('--dry-run', 'only list them')
}

/** Nothing chosen is refused: a forgotten id must not mean all of them. */
function chosen(ids: readonly string[], { all, key, error, since, until }: Choice): readonly string[] | DeadLetterFilter {
  const given = { key, error, since: timeOf(since, '--since'), until: timeOf(until, '--until') }
  const filter = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as DeadLetterFilter
  const filtered = Object.keys(filter).length > 0
  if (ids.length > 0 && (filtered || all)) throw new BusError('invalid_argument', 'give ids, or --all or a filter, not both')
  if (ids.length > 0) return ids
  if (!filtered && !all) throw new BusError('invalid_argument', 'say which: ids, --key, --error, --since, --until, or --all')
  return filter
}

function timeOf(text: string | undefined, name: string): Date | undefined {
  if (text === undefined) return undefined
  const time = placeOrTime(text, name)
  if (time instanceof Date) return time
  throw new BusError('invalid_argument', `${name} '${text}' is no time (ISO 8601)`)
}

const list: Action = async (desk, _rest, options: Common & { limit: string; after?: string }) => {
  const limit = whole(options.limit, '--limit', 1, 100_000)
  const letters = await desk.list({ limit, ...(options.after === undefined ? {} : { after: options.after }) })
  table(letters.map(rowOf), options.json)
}

function rowOf({ id, topic, key, attempts, lastFailure, error }: DeadLetterView) {
  return { id, topic, key, attempts, lastFailure, error }
}

const show: Action = async (desk, [id], options: Common) => {
  process.stdout.write(`${JSON.stringify(view(await desk.get(id as string)), null, options.json ? 0 : 2)}\n`)
}

const replay: Action = async (desk, [ids], options: Choice) => {
  const which = chosen(ids as string[], options)
  if (options.dryRun) return preview(desk, which, 'replayed', options)
  const replayed = await desk.replay(which, (count) => progress(`${count} replayed`))
  progress('')
  done({ replayed }, `${replayed} replayed`, options.json)
}

const discard: Action = async (desk, [ids], options: Choice) => {
  const which = chosen(ids as string[], options)
  if (options.dryRun) return preview(desk, which, 'discarded', options)
  const discarded = await desk.discard(which, (count) => progress(`${count} discarded`))
  progress('')
  done({ discarded }, `${discarded} discarded`, options.json)
}

async function preview(desk: DeadLetterDesk, which: readonly string[] | DeadLetterFilter, what: string, options: Choice): Promise<void> {
  const rows = []
  for await (const letter of desk.find(which)) rows.push(rowOf(letter))
  table(rows, options.json)
  if (!options.json) process.stderr.write(`${rows.length} would be ${what}\n`)
}

const exportAll: Action = async (desk) => {
  let count = 0
  for await (const letter of desk.export()) {
    process.stdout.write(`${JSON.stringify(view(letter))}\n`)
    if (++count % 100 === 0) progress(`${count} exported`)
  }
  progress('')
}

function view(letter: DeadLetterView) {
  const { bytes: _, ...shown } = letter
  return { ...shown, body: bodyView(letter) }
}

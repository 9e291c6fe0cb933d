import { type Command, Option } from 'commander'
import { timeOf } from '../admin/place.ts'
import type { Bus } from '../bus.ts'
import { BusError } from '../errors.ts'
import type { Duration } from '../message/duration.ts'
import type { PublishOptions } from '../publish/encode.ts'
import type { Receipt } from '../publish/receipt.ts'
import { checkName } from '../topic/name.ts'
import type { PublishTopic } from '../topic/resolve.ts'
import { add, type Common, optionsOf, withBus } from './command.ts'
import { jsonLines } from './json-lines.ts'
import { parseJson, progress } from './output.ts'

interface PubOptions extends Common {
  readonly key?: string
  readonly id?: string
  readonly header?: readonly string[]
  readonly delay?: string
  readonly deliverAt?: string
  readonly raw?: boolean
}

const batchSize = 1000

export function addPub(program: Command): void {
  add(program, 'pub', 'publish a body, or each JSON line of standard input', [
    `pub docs.added '{"id":"d1"}' --key d1`,
    'pub docs.added < lines.jsonl',
  ])
    .argument('<topic>', 'one exact name')
    .argument('[body]', 'JSON; without it standard input is read')
    .option('--key <key>', 'what order is kept by')
    .option('--id <id>', 'the same id is stored once')
    .option('--header <name=value>', 'may be repeated', (pair: string, all: string[] = []) => [...all, pair])
    .addOption(new Option('--delay <time>', 'deliver after, for example 30s').conflicts('deliverAt'))
    .option('--deliver-at <time>', 'deliver not before, for example 2027-01-31T09:00Z')
    .option('--raw', 'standard input is one body of bytes')
    .action((topic: string, body: string | undefined, _options, command: Command) => pub(topic, body, optionsOf<PubOptions>(command)))
}

function publishOptions(options: PubOptions): PublishOptions {
  const headers: Record<string, string> = {}
  for (const pair of options.header ?? []) {
    const at = pair.indexOf('=')
    if (at < 1) throw new BusError('invalid_argument', `--header '${pair}' must be name=value`)
    headers[pair.slice(0, at)] = pair.slice(at + 1)
  }
  return {
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.id === undefined ? {} : { id: options.id }),
    ...(options.header ? { headers } : {}),
    ...(options.delay === undefined ? {} : { delay: (/^\d+$/.test(options.delay) ? Number(options.delay) : options.delay) as Duration }),
    ...(options.deliverAt === undefined ? {} : { deliverAt: timeOf(options.deliverAt, '--deliver-at') }),
  }
}

async function pub(topic: string, body: string | undefined, options: PubOptions): Promise<void> {
  if (body !== undefined && options.raw) throw new BusError('invalid_argument', '--raw reads standard input; give no body')
  const how = publishOptions(options)
  const parsed = body === undefined ? undefined : parseJson(body, 'the body')
  if (body === undefined && !options.raw && how.id !== undefined)
    throw new BusError('invalid_argument', 'one --id cannot name many lines; give the body as an argument, or --raw')
  // Before a store is made: a refusal leaves nothing behind.
  checkName(topic)
  await withBus(options, async (bus, stored) => {
    const place = await stored.place(topic)
    const report = (receipt: Receipt): void => {
      if (options.json) process.stdout.write(`${JSON.stringify(receipt)}\n`)
    }
    let sent = 1
    if (body !== undefined) report(await bus.publish(place, parsed, how))
    else if (options.raw) report(await bus.publish(place, await readAll(), how))
    else sent = await publishLines(bus, place, how, report)
    if (!options.json) process.stderr.write(`${sent} published to ${topic}\n`)
  })
}

async function readAll(): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return new Uint8Array(Buffer.concat(chunks))
}

/** A batch at a time, so that any length of input passes through. Returns how many were stored. */
async function publishLines(bus: Bus, topic: PublishTopic, how: PublishOptions, report: (receipt: Receipt) => void): Promise<number> {
  if (process.stdin.isTTY) process.stderr.write('one JSON body a line; Ctrl-D ends\n')
  let sent = 0
  let batch: unknown[] = []
  const flush = async (): Promise<void> => {
    const outcomes = await bus.publishMany(topic, batch, how)
    batch = []
    for (const outcome of outcomes) {
      if (!outcome.ok) continue
      sent++
      report(outcome)
    }
    const failed = outcomes.find((outcome) => !outcome.ok)
    if (failed && !failed.ok)
      throw new BusError(failed.error.code, `${failed.error.message} (${sent} were published)`, { cause: failed.error })
    progress(`${sent} published`)
  }
  const bodies = jsonLines(process.stdin)
  for (;;) {
    let next: IteratorResult<unknown>
    try {
      next = await bodies.next()
    } catch (error) {
      // The lines before it are good, and whoever mends this one must know where to go on.
      await flush()
      throw new BusError('invalid_message', `${(error as Error).message} (${sent} before it were published)`, { cause: error })
    }
    if (next.done) break
    batch.push(next.value)
    if (batch.length === batchSize) await flush()
  }
  if (batch.length > 0) await flush()
  progress('')
  return sent
}

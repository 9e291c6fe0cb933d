import { mkdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { nearer } from './display.ts'
import { DocumentIndex } from './document-index.ts'
import { busUrl, documents, group, openBus } from './documents.ts'
import { run } from './run.ts'

const usage = `Indexes the texts of a folder through the bus, and searches them.

  npm run example:knowledge -- <folder>           what is new, changed or gone since the last time
  npm run example:knowledge -- <folder> --watch   and goes on looking
  npm run example:knowledge -- work               only workers, for a folder that another terminal indexes
  npm run example:knowledge -- search [words]     without words it asks for them
  npm run example:knowledge -- dead-letters       what was given up on, and why
  npm run example:knowledge -- replay             gives it to the workers again

  --workers <n>    worker processes [2]
  --types <list>   endings of the files to index [md,mdx,markdown,txt]
  --pace <ms>      how long a document takes, as if a model read it [0]
  --store <dir>    where bus and index are [.cozebus/knowledge]

Ctrl-C lets the workers finish what they hold. A folder named like a command is given as ./search.
`

function wrong(text: string): never {
  process.stderr.write(`${text}\n\n${usage}`)
  process.exit(2)
}

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        workers: { type: 'string', default: '2' },
        types: { type: 'string', default: 'md,mdx,markdown,txt' },
        pace: { type: 'string', default: '0' },
        store: { type: 'string', default: '.cozebus/knowledge' },
        knowledge: { type: 'string', default: 'local' },
        watch: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    return wrong((error as Error).message)
  }
}

function whole(text: string, name: string, least: number): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) < least) wrong(`${name} must be a whole number from ${least}, not '${text}'`)
  return Number(text)
}

async function search(store: string, words: string): Promise<void> {
  const index = new DocumentIndex(store)
  const show = (text: string): void => {
    const hits = index.search(text)
    if (hits.length === 0) process.stdout.write(`nothing holds ${text}; ${index.size.documents} documents are indexed\n`)
    for (const { path, snippet } of hits) process.stdout.write(`${nearer(path)}\n    ${snippet.replaceAll(/\s+/g, ' ')}\n`)
  }
  if (words !== '') show(words)
  else {
    process.stdout.write(`${index.size.documents} documents; words to search for, Ctrl-D ends\n`)
    const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: 'search> ' })
    lines.prompt()
    for await (const line of lines) {
      if (line.trim() !== '') show(line)
      lines.prompt()
    }
  }
  index.close()
}

async function deadLetters(store: string): Promise<void> {
  const bus = await openBus(store)
  for await (const { key, attempts, lastFailure, error } of bus.admin.deadLetters(documents, group).export())
    process.stdout.write(`${nearer(key ?? '-')}\n    ${error}; tried ${attempts} times, last ${lastFailure.toLocaleString()}\n`)
  process.stdout.write(`${await bus.admin.deadLetters(documents, group).count()} dead letters\n`)
  process.stdout.write(`the same, with cozebus: npm run cozebus -- dlq ls '${documents.storage}' ${group} --url '${busUrl(store)}'\n`)
  await bus.close()
}

const { values, positionals } = options()
const [what, ...words] = positionals
if (values.help) {
  process.stdout.write(usage)
  process.exit(0)
}
if (what === undefined) wrong('say which folder')
const store = resolve(values.store)
mkdirSync(store, { recursive: true })
const crew = { store, workers: whole(values.workers, '--workers', 1), pace: whole(values.pace, '--pace', 0) }

try {
  process.exitCode = await command(what)
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}

async function command(what: string): Promise<number> {
  if (what === 'search') await search(store, words.join(' '))
  else if (what === 'dead-letters') await deadLetters(store)
  else if (what === 'replay') return run({ ...crew, replay: true })
  else if (what === 'work') return run({ ...crew, watch: true })
  else {
    const folder = resolve(what)
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) wrong(`'${what}' is no folder`)
    const { types, knowledge, watch } = values
    return run({ ...crew, folder, types: types.split(','), knowledge, watch })
  }
  return 0
}

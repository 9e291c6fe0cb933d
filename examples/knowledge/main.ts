import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from '../../src/index.ts'
import { documents, Index } from './indexer.ts'

const usage = `Indexes the texts of a folder through the bus, and searches them.

  npm run example:knowledge -- <folder>             index it, with progress
  npm run example:knowledge -- --search "words"     search what is indexed
  npm run example:knowledge -- --replay             give dead letters to the indexer again

Run it twice at once on one folder: the workers share the group. Kill one: the other goes on.
`
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    search: { type: 'string' },
    replay: { type: 'boolean' },
    store: { type: 'string', default: '.cozebus/knowledge' },
    help: { type: 'boolean' },
  },
})
const folder = positionals[0]
if (values.help || (folder === undefined && values.search === undefined && !values.replay)) {
  process.stdout.write(usage)
  process.exit(values.help ? 0 : 2)
}

function* textsOf(path: string): Generator<string> {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inside = join(path, entry.name)
    if (entry.isDirectory()) yield* textsOf(inside)
    else if (/\.(md|txt|markdown)$/i.test(entry.name)) yield inside
  }
}

const store = resolve(values.store)
mkdirSync(store, { recursive: true })
const index = new Index(join(store, 'index.db'))

if (values.search !== undefined) {
  for (const { path, snippet } of index.search(values.search)) process.stdout.write(`${path}\n    ${snippet.replaceAll('\n', ' ')}\n`)
  index.close()
} else {
  const bus = await connect(`file:${join(store, 'bus')}`, { drain: '5s' })
  const desk = bus.admin.deadLetters(documents, 'indexer')
  if (values.replay) process.stdout.write(`${await desk.replay({})} dead letters replayed\n`)
  const work = await bus.subscribe(
    documents,
    { group: 'indexer', concurrency: 8, retry: { attempts: 3, initial: '500ms' } },
    (message, delivery) => index.handle(message, delivery),
  )
  let stopping = false
  process.on('SIGINT', () => {
    stopping = true
  })
  if (folder !== undefined) {
    const paths = [...textsOf(resolve(folder))]
    // The id holds the file's time: a file that has not changed since is published once.
    const outcomes = await bus.publishMany(
      documents.with({ knowledgeId: 'local', operation: 'updated' }),
      paths.map((path) => ({ path })),
      {
        ids: paths.map((path) =>
          Buffer.from(`${statSync(path).mtimeMs}:${path}`)
            .toString('base64url')
            .slice(-120),
        ),
      },
    )
    const refused = outcomes.filter((outcome) => !outcome.ok).length
    process.stdout.write(
      `${paths.length} files, ${outcomes.filter((outcome) => outcome.ok && outcome.duplicate).length} unchanged${refused > 0 ? `, ${refused} refused` : ''}\n`,
    )
  }
  for (;;) {
    const lag = await bus.admin.lag(documents, 'indexer')
    const { running, progress } = work.status()
    const line = `${lag} waiting, ${running} running, ${index.size.documents} documents, ${index.size.pieces} pieces  ${progress[0] ? `${Math.round(progress[0].fraction * 100)} % ${progress[0].key}` : ''}`
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line.slice(0, process.stdout.columns - 1)}`)
    if (lag === 0 || stopping) break
    await new Promise((wait) => setTimeout(wait, 100))
  }
  await bus.close().finally(() => index.close())
}
if (values.search === undefined) {
  const reopened = await connect(`file:${join(store, 'bus')}`)
  const letters = await reopened.admin.deadLetters(documents, 'indexer').list()
  process.stdout.write(`\n${letters.length} dead letters\n`)
  for (const letter of letters) process.stdout.write(`  ${letter.key}: ${letter.error}\n`)
  await reopened.close()
}

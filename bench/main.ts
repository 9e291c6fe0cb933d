import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { backlog } from './backlog.ts'
import { embedded } from './embedded.ts'
import { many } from './many.ts'
import { natsSection } from './nats/section.ts'
import { machine, savePart } from './page.ts'
import { processes } from './processes.ts'
import { runSection } from './section.ts'
import { missedOf, table } from './table.ts'

const help = `bench: how fast it is, beside a peer in the same run

  npm run bench                                              all sections
  npm run bench -- nats --only publish-128 --rounds 3        one case of a section
  npm run -s bench -- nats --json --save >figures.json       its table into docs/performance.md, its figures to a file

  sections: embedded, backlog, processes, many, nats. Of nats:
  --only <case>    this case and no other; may be repeated
  --rounds <n>     how often each side is measured, after a first time that does not count [5]
  --scale <part>   so much of the messages, from 0.0001 to 1, to try something [1]
  --json           prints figures, round by round, as JSON
  --save           also writes the table into docs/performance.md (a whole run only)

  --check          ends with 1 where a goal is missed: for a quiet machine
`

interface Plain {
  readonly title: string
  run(missed: string[]): Promise<void>
}
const plain: Readonly<Record<string, Plain>> = {
  embedded: { title: 'The embedded engine beside raw SQLite', run: () => embedded(5) },
  backlog: { title: 'A backlog of a million messages', run: backlog },
  processes: { title: 'Several processes on one store, 256-byte bodies', run: (missed) => processes(3, missed) },
  many: { title: 'publishMany on NATS', run: () => many(9) },
}
const { values, positionals: asked } = parseArgs({
  allowPositionals: true,
  options: {
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '5' },
    save: { type: 'boolean', default: false },
    scale: { type: 'string', default: '1' },
  },
})
const rounds = Number(values.rounds)
const scale = Number(values.scale)
const nats = natsSection(scale)
const names = [...Object.keys(plain), 'nats']
const alone = asked.length === 1 && asked[0] === 'nats'
const unknown = asked.find((name) => !names.includes(name))
const other = values.only?.find((name) => nats.cases[name] === undefined)
const wrong =
  unknown !== undefined
    ? `there is no '${unknown}'; name any of ${names.join(', ')}, or none for all`
    : other !== undefined
      ? `nats has no case '${other}'; it has ${Object.keys(nats.cases).join(', ')}`
      : !(Number.isSafeInteger(rounds) && rounds > 0)
        ? `--rounds is a whole number from 1, not '${values.rounds}'`
        : !(scale >= 0.0001 && scale <= 1)
          ? `--scale is from 0.0001 to 1, not '${values.scale}'`
          : (values.json || values.only) && !alone
            ? '--json and --only are for one section with cases: nats'
            : values.save && (values.only || scale !== 1)
              ? '--save is for a whole run: without --only and --scale'
              : undefined
if (values.help || wrong !== undefined) {
  process.stderr.write(wrong === undefined ? help : `bench: ${wrong}\n\n${help}`)
  process.exit(wrong === undefined ? 0 : 2)
}

const missed: string[] = []
const wanted = (name: string): boolean => asked.length === 0 || asked.includes(name)
if (!values.json) console.log(`${machine()}, SQLite ${process.versions.sqlite}`)
for (const [name, { title, run }] of Object.entries(plain)) {
  if (!wanted(name)) continue
  console.log(`\n# ${title}`)
  await run(missed)
}
if (wanted('nats')) {
  const report = await runSection(nats, rounds, values.only)
  const text = table(report)
  console.log(values.json ? JSON.stringify(report, undefined, 2) : `\n# NATS\n${text}`)
  missed.push(...missedOf(report))
  if (values.save) savePart(join(import.meta.dirname, '..', 'docs', 'performance.md'), 'nats', 'npm run bench -- nats --save', text)
}
// For a quiet machine: beside other work bounds on time are missed for no fault of the bus.
if (values.check) {
  for (const bound of missed) process.stderr.write(`missed: ${bound}\n`)
  if (missed.length > 0) process.exitCode = 1
}

import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { backlog } from './backlog.ts'
import { embedded } from './embedded.ts'
import { many } from './many.ts'
import { processes } from './processes.ts'

const sections: Readonly<Record<string, { readonly title: string; run(missed: string[]): Promise<void> }>> = {
  embedded: { title: 'The embedded engine beside raw SQLite', run: () => embedded(5) },
  backlog: { title: 'A backlog of a million messages', run: backlog },
  processes: { title: 'Several processes on one store, 256-byte bodies', run: (missed) => processes(3, missed) },
  many: { title: 'publishMany on NATS', run: () => many(9) },
}

const { values, positionals: asked } = parseArgs({ allowPositionals: true, options: { check: { type: 'boolean', default: false } } })
const unknown = asked.find((name) => sections[name] === undefined)
if (unknown !== undefined) {
  process.stderr.write(`bench: there is no '${unknown}'; name any of ${Object.keys(sections).join(', ')}, or none for all\n`)
  process.exit(2)
}
const missed: string[] = []
console.log(`Node ${process.version}, SQLite ${process.versions.sqlite}, ${cpus().length} × ${cpus()[0]?.model}, ${process.platform}`)
for (const [name, { title, run }] of Object.entries(sections)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  console.log(`\n# ${title}`)
  await run(missed)
}
// For a quiet machine: beside other work bounds on time are missed for no fault of the bus.
if (values.check) {
  for (const bound of missed) process.stderr.write(`missed: ${bound}\n`)
  if (missed.length > 0) process.exitCode = 1
}

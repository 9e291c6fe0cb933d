// `npm run engines`: the tables of docs/engines.md.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { savePart } from '../page.ts'
import { brokers } from './brokers.ts'
import { type Part, ratesPart, rulesPart } from './page.ts'
import { type Rates, rates } from './rates.ts'
import { rules } from './rules.ts'

const help = `engines: what each engine keeps, and how fast it is beside its broker's best client

  npm run engines                    both tables, on every engine
  npm run engines -- rules           the conformance suite, rule by rule
  npm run engines -- rates           publish and consume beside a peer, on the same broker in the same run

  --engine <name>  one engine alone; may be repeated
  --rounds <n>     how often each side of a rate is measured [5]
  --save           also writes the tables into docs/engines.md (every engine only)
`
const parts: readonly Part[] = ['rules', 'rates']
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '5' },
    save: { type: 'boolean' },
    help: { type: 'boolean' },
  },
})
const all = ['embedded', ...Object.keys(brokers)]
const asked = values.engine ?? all
const rounds = Number(values.rounds)
const wrong =
  positionals.find((part) => !parts.includes(part as Part)) ??
  asked.find((engine) => !all.includes(engine)) ??
  (Number.isSafeInteger(rounds) && rounds > 0 ? undefined : values.rounds) ??
  (values.save && values.engine ? '--save with --engine' : undefined)
if (values.help || wrong !== undefined) {
  process.stderr.write(wrong === undefined ? help : `engines: cannot do '${wrong}'; engines are ${all.join(', ')}\n\n${help}`)
  process.exit(wrong === undefined ? 0 : 2)
}

const path = join(import.meta.dirname, '..', '..', 'docs', 'engines.md')
function show(part: Part, text: string): void {
  process.stdout.write(`${text}\n`)
  if (values.save) savePart(path, part, `npm run engines -- ${part} --save`, text)
}

const wanted = positionals.length === 0 ? parts : positionals
if (wanted.includes('rules')) show('rules', rulesPart(rules(asked)))
if (wanted.includes('rates')) {
  const measured = new Map<string, Rates>()
  for (const engine of asked) {
    const broker = brokers[engine]
    if (broker === undefined) continue
    process.stderr.write(`measuring ${engine}…\n`)
    measured.set(engine, await rates(broker, rounds))
  }
  show('rates', ratesPart(measured, rounds))
}

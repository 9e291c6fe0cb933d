// `npm run soak`: the crash test for as long as one likes. See docs/soak.md.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { startNats } from '../rig/nats.ts'
import { type Broker, crashRounds, type Outcome } from './rounds.ts'

const help = `soak: publishers and workers in processes of their own, killed at random; exits with 1 when a rule was broken

  --rounds <n>  how many rounds [100]
  --seed <n>    the source of what is published and who is killed when [from the clock]
  --json        the outcome as one line of JSON
  --save        also writes the outcome into docs/soak.md

  npm run soak -- --rounds 10 --seed 7
  npm run soak -- nats --rounds 20     on a NATS server, which is killed too, in each round
`

async function natsBroker(): Promise<Broker & AsyncDisposable> {
  const server = await startNats()
  return {
    url: server.url,
    async strike() {
      await server.kill()
      await server.start()
    },
    [Symbol.asyncDispose]: () => server.stop(),
  }
}

function table(outcome: Outcome): string {
  const { violations, dead, ...counts } = outcome
  const rows: [string, string | number][] = [
    ['seed', counts.seed],
    ['rounds', counts.rounds],
    ['time', `${counts.seconds} s`],
    ['processes killed with SIGKILL', counts.kills],
    ['killed or ended by a message they handled', counts.selfKills],
    ['stopped for longer than their leases, then let go on', counts.pauses],
    ['told to drain', counts.drains],
    ['messages confirmed', counts.confirmed],
    ['stored (a killed publisher may not have heard of some)', counts.stored],
    ['sent again with the same id, and stored once', counts.resent],
    ['handled', counts.handled],
    ['handler failures', counts.retries],
    ['handled again (their process died or lost its leases before its acknowledgement was through)', counts.duplicates],
    ['dead letters of messages that always fail', dead.poison],
    ['dead letters of messages that kill their process', dead.killer],
    ['dead letters of bystanders: as many processes died while they were handled as the limit says', dead.bystander],
    ['two of a key at once after a lost lease, told by the fence', counts.lostLeases],
    ['two of a key at once otherwise, lost, out of order, changed, tried too often, too early', violations.length],
  ]
  return rows.map(([what, value]) => `${String(value).padStart(14)}  ${what}`).join('\n')
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const [rounds, seed] = [Number(values.rounds), Number(values.seed)]
if (values.help) {
  console.log(help)
  process.exit(0)
}
const [on] = positionals
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed) || (on !== undefined && on !== 'nats')) {
  console.error(help)
  process.exit(2)
}
const terminal = process.stderr.isTTY
const broker = on === 'nats' ? await natsBroker() : undefined
const outcome = await crashRounds(
  rounds,
  seed,
  (done) => {
    if (terminal) process.stderr.write(`\r${done === rounds ? 'waiting until all is handled' : `round ${done} of ${rounds}`}\x1b[K`)
  },
  broker,
)
if (terminal) process.stderr.write('\r\x1b[K')
const text = table(outcome)
console.log(values.json ? JSON.stringify(outcome) : text)
for (const { rule, text } of outcome.violations) console.error(`${rule}: ${text}`)
if (outcome.journal) console.error(`what happened, line by line: ${outcome.journal}`)
if (values.save) {
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${process.platform}`
  const page = `# Soak

\`npm run soak\` runs the crash test of the suite for a hundred rounds: two publishers and three workers, each a process, on one embedded store.
In each round workers are killed with SIGKILL at random (some are told to drain instead, some are stopped for longer than their leases and let go on), then the publishers are.
Among the messages are keyed ones, delayed ones, ones that fail twice, ones that always fail, ones that take longer than a lease, and ones that kill their process.
Every process writes what it does into one journal before it does the next thing; \`test/crash/checks.ts\` judges the journal and the store against the rules.

\`--rounds\`, \`--seed\`, \`--json\`; \`--save\` writes this page. It exits with 1 when a rule was broken.

The last run, ${new Date().toISOString().slice(0, 10)}, ${machine}:

\`\`\`
${text}
\`\`\`
`
  writeFileSync(new URL('../../docs/soak.md', import.meta.url), page)
}
await broker?.[Symbol.asyncDispose]()
process.exit(outcome.violations.length > 0 ? 1 : 0)

// `npm run soak`: the crash test for as long as one likes. See docs/soak.md.
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { Random } from '../../src/testing/random.ts'
import { startCluster } from '../rig/cluster.ts'
import { startKafka } from '../rig/kafka.ts'
import { startNats } from '../rig/nats.ts'
import { startNsqd } from '../rig/nsq.ts'
import { startPulsar } from '../rig/pulsar.ts'
import { startRocketmq } from '../rig/rocketmq.ts'
import { kafkaBroker, nsqBroker, pulsarBroker, rocketmqBroker, rocketmqWithoutOrder } from './brokers.ts'
import { type Broker, crashRounds, type Outcome } from './rounds.ts'

const help = `soak: publishers and workers in processes of their own, killed at random; exits with 1 when a rule was broken

  --rounds <n>  how many rounds [100]
  --seed <n>    the source of what is published and who is killed when [from the clock]
  --keep        keeps the journal of what happened, though no rule was broken
  --json        the outcome as one line of JSON
  --save        also writes the outcome into docs/soak.md

  npm run soak -- --rounds 10 --seed 7
  npm run soak -- nats --rounds 20       on a NATS server, which is killed too, in each round
  npm run soak -- kafka --rounds 20      on a Kafka broker, likewise
  npm run soak -- rocketmq --rounds 20   on a RocketMQ broker, likewise
  npm run soak -- pop --rounds 20        there without order, which is another way in
  npm run soak -- pulsar --rounds 20     on a Pulsar broker, likewise
  npm run soak -- nsq --rounds 20        on an nsqd, which is ended and started again in each round
  npm run soak -- cluster --rounds 20    on three of them, of which one is killed, or told to go, or has its leader step down
`

/** Where the processes meet, by the heading of docs/soak.md that has its last run. */
const places: Record<string, { heading: string; start?: (random: Random) => Promise<Broker & AsyncDisposable> }> = {
  embedded: { heading: 'One embedded store' },
  nats: { heading: 'One NATS server, killed in each round', start: oneServer },
  kafka: { heading: 'One Kafka broker, killed in each round', start: oneBroker },
  rocketmq: { heading: 'One RocketMQ broker, killed in each round', start: () => oneRocketmq(rocketmqBroker) },
  pop: { heading: 'One RocketMQ broker, killed in each round, without order', start: () => oneRocketmq(rocketmqWithoutOrder) },
  pulsar: { heading: 'One Pulsar broker, killed in each round', start: onePulsar },
  nsq: { heading: 'One nsqd, ended and started again in each round', start: oneNsqd },
  cluster: { heading: 'Three NATS servers, one of which fails in each round', start: threeServers },
}

async function oneServer(): Promise<Broker & AsyncDisposable> {
  const server = await startNats()
  return {
    url: server.url,
    replicas: 1,
    async strike() {
      await server.kill()
      await server.start()
    },
    [Symbol.asyncDispose]: () => server.stop(),
  }
}

async function oneBroker(): Promise<Broker & AsyncDisposable> {
  const node = await startKafka()
  return { ...kafkaBroker(node, 1000), [Symbol.asyncDispose]: () => node.stop() }
}

async function oneRocketmq(as: typeof rocketmqBroker): Promise<Broker & AsyncDisposable> {
  const brokers = await startRocketmq({ extra: { flushConsumerOffsetInterval: '100' } })
  return { ...as(brokers, 3000), [Symbol.asyncDispose]: () => brokers.stop() }
}

async function onePulsar(): Promise<Broker & AsyncDisposable> {
  const node = await startPulsar()
  return { ...pulsarBroker(node, 1000), [Symbol.asyncDispose]: () => node.stop() }
}

async function oneNsqd(): Promise<Broker & AsyncDisposable> {
  const node = await startNsqd()
  return { ...nsqBroker(node, 1000), [Symbol.asyncDispose]: () => node.stop() }
}

async function threeServers(random: Random): Promise<Broker & AsyncDisposable> {
  const cluster = await startCluster()
  return {
    url: cluster.url,
    replicas: 3,
    async strike() {
      const node = random.pick(cluster.nodes)
      const draw = random.next()
      if (draw < 0.5) await node.kill()
      else if (draw < 0.75) await node.lameDuck()
      else return void (await cluster.stepDown('crash_STREAM'))
      await node.start()
      await cluster.ready()
    },
    [Symbol.asyncDispose]: () => cluster.stop(),
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

/** The last run under this heading of docs/soak.md, in place of the one before. */
function save(heading: string, text: string): void {
  const page = new URL('../../docs/soak.md', import.meta.url)
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${process.platform}`
  const section = `## ${heading}\n\nThe last run, ${new Date().toISOString().slice(0, 10)}, ${machine}:\n\n\`\`\`\n${text}\n\`\`\`\n`
  const [intro, ...sections] = readFileSync(page, 'utf8').split(/^(?=## )/m)
  const others = sections.filter((other) => !other.startsWith(`## ${heading}\n`)).map((other) => other.trimEnd())
  const order = Object.values(places).map((place) => place.heading)
  const rank = (one: string): number => order.findIndex((title) => one.startsWith(`## ${title}\n`))
  const sorted = [...others, section.trimEnd()].sort((a, b) => rank(a) - rank(b))
  writeFileSync(page, `${[intro!.trimEnd(), ...sorted].join('\n\n')}\n`)
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    keep: { type: 'boolean', default: false },
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
const [on = 'embedded'] = positionals
const place = places[on]
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed) || !place) {
  console.error(help)
  process.exit(2)
}
const terminal = process.stderr.isTTY
const broker = await place.start?.(new Random(seed))
const outcome = await crashRounds(
  rounds,
  seed,
  (done) => {
    if (terminal) process.stderr.write(`\r${done === rounds ? 'waiting until all is handled' : `round ${done} of ${rounds}`}\x1b[K`)
  },
  broker,
  values.keep,
)
if (terminal) process.stderr.write('\r\x1b[K')
const text = table(outcome)
console.log(values.json ? JSON.stringify(outcome) : text)
for (const { rule, text } of outcome.violations) console.error(`${rule}: ${text}`)
if (outcome.journal) console.error(`what happened, line by line: ${outcome.journal}`)
if (values.save) save(place.heading, text)
await broker?.[Symbol.asyncDispose]()
process.exit(outcome.violations.length > 0 ? 1 : 0)

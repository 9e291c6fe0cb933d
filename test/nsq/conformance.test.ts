import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, test } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { openNsq } from '../../src/engines/nsq/engine.ts'
import { Names } from '../../src/engines/nsq/names.ts'
import type { Subject } from '../../src/testing/harness.ts'
import { memoryLedger } from '../../src/testing/models/ledger.ts'
import { conformance, type SuiteTest } from '../../src/testing/suite.ts'
import { describeNsq } from '../rig/needs.ts'
import { type NsqdSettings, type NsqNode, startNsqd } from '../rig/nsq.ts'
import { startProxy, type TcpProxy } from '../rig/proxy.ts'

const names = new Names()

function subject(server: NsqNode): Subject {
  return {
    name: 'nsq',
    ledger: memoryLedger(),
    open: () => openNsq(server.url, { http: [server.http] }),
    foreign: (storage, _name, bytes) => server.publish(names.physical(storage), bytes),
    // nsqd looks for what is due on a new channel after five seconds at the latest.
    patienceMs: 15_000,
  }
}

/** The same with a broker that restarts, and members that vanish. */
function disturbed(server: NsqNode): Subject {
  const proxies = new Map<Engine, TcpProxy>()
  return {
    ...subject(server),
    async open() {
      const proxy = await startProxy(server.ports.tcp)
      const engine = await openNsq(`nsq://127.0.0.1:${proxy.port}`, { http: [server.http], reconnectWaitMs: 20 })
      proxies.set(engine, proxy)
      return engine
    },
    restart: () => server.restart(),
    async crash(engine) {
      const proxy = proxies.get(engine)!
      await proxy.refuse()
      proxy.cut()
    },
  }
}

async function start(settings: NsqdSettings = {}): Promise<NsqNode> {
  const server = await startNsqd(settings)
  afterAll(() => server.stop())
  return server
}

function run(tests: readonly SuiteTest[]): void {
  for (const one of tests)
    test.skipIf(one.skip !== undefined)(one.skip === undefined ? one.name : `${one.name} (${one.skip})`, () => one.run(), 90_000)
}

await describeNsq('the NSQ engine', async () => {
  const [plain, restarting, capped] = [await start(), await start(), await start({ maxMsgTimeoutMs: 3000 })]
  // Its start is told in whole seconds: what is stored within the first may be of an earlier life, and is taken for redelivered.
  await sleep(1000)
  const calm = await conformance(subject(plain))
  const more = async (other: Subject): Promise<SuiteTest[]> =>
    (await conformance(other)).filter(({ skip }, i) => skip === undefined && calm[i]!.skip !== undefined)
  const disturbing = await conformance(disturbed(restarting))
  const after = await more(disturbed(restarting))
  const short = await more(subject(capped))
  const covered = new Set([...after, ...short].map(({ name }) => name))

  // Cases mostly wait, each on topics of its own.
  describe.concurrent('as it is', () => run(calm.filter(({ name }) => !covered.has(name))))
  describe.concurrent('whose leases end after three seconds', () => run(short))
  describe('that is restarted, and whose members vanish', () =>
    run([...after, ...disturbing.filter(({ name }) => name.includes('random workload'))]))
})

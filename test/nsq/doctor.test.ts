import { expect, onTestFinished, test } from 'vitest'
import type { Finding } from '../../src/engines/engine.ts'
import { having } from '../findings.ts'
import { describeNsq } from '../rig/needs.ts'
import { startNsqd, startNsqlookupd } from '../rig/nsq.ts'
import { freePorts } from '../rig/ports.ts'
import { busAt, busOn, nsqd } from './support.ts'

await describeNsq('what the doctor sees of nsqd', () => {
  test('a sound one, and one whose queues a kill takes along', async () => {
    const sound = await busOn(await nsqd({ memoryQueue: 0, syncEvery: 1 }))
    expect((await sound.diagnose()).map(({ check, level }) => `${check} ${level}`)).toEqual(['nsqd ok', 'durability ok'])
    expect(await (await busOn(await nsqd())).diagnose()).toContainEqual(
      having('warning', 'durability', /10000 messages.*memory/, /--mem-queue-size=0/),
    )
    expect(await (await busOn(await nsqd({ memoryQueue: 0 }))).diagnose()).toContainEqual(having('warning', 'durability', /every 2500/))
  })

  test('groups that nobody reads or somebody has paused, and topics without any', async () => {
    const node = await nsqd()
    const bus = await busOn(node)
    for (const group of ['left', 'held']) await (await bus.subscribe('t', { group }, () => {})).close()
    await node.ask('/channel/pause?topic=t&channel=held', '')
    await bus.publish('t', 1)
    await node.publish('orphaned', '1')
    const found = async (): Promise<readonly Finding[]> => bus.diagnose()
    await expect.poll(found).toContainEqual(having('warning', 'group', /^left on t .*1 messages wait, and no member/))
    expect(await found()).toContainEqual(having('problem', 'group', /^held on t .*paused/))
    expect(await found()).toContainEqual(having('note', 'group', /^orphaned .*no group/))
  })

  test('one whose HTTP side is shut, and one that is away', async () => {
    const node = await nsqd()
    const [nobody, shut] = await freePorts(2)
    const bus = await busAt(`${node.url},127.0.0.1:${nobody}`, { http: [`127.0.0.1:${shut}`, `127.0.0.1:${nobody}`] })
    const found = await bus.diagnose()
    expect(found).toContainEqual(having('warning', 'http', /cannot be reached/, /nsq\.http/))
    expect(found).toContainEqual(having('problem', 'nsqd', new RegExp(`127.0.0.1:${nobody} is away.*ECONNREFUSED`)))
  })

  test('an address that nsqlookupd tells and nobody can reach, and a lookup daemon that is away', async () => {
    const lookup = await startNsqlookupd()
    onTestFinished(() => lookup.stop())
    await nsqd({ lookupd: [lookup.tcp], id: 1 })
    const elsewhere = await startNsqd({ lookupd: [lookup.tcp], id: 2, broadcast: 'nowhere.invalid' })
    onTestFinished(() => elsewhere.stop())
    await expect.poll(async () => (await lookup.ask('/nodes')).match(/tcp_port/g)?.length).toBe(2)
    const [nobody] = await freePorts(1)
    const bus = await busAt(`${lookup.url},127.0.0.1:${nobody}`)
    const found = await bus.diagnose()
    expect(found).toContainEqual(having('problem', 'nsqd', /nowhere\.invalid:\d+ is away/, /--broadcast-address/))
    expect(found).toContainEqual(having('warning', 'lookup', new RegExp(`127.0.0.1:${nobody}`)))
  })
})

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Finding } from '../../src/engines/engine.ts'
import { shell } from '../cli/support.ts'
import { having } from '../findings.ts'
import { describePulsar } from '../rig/needs.ts'
import { type PulsarNode, startPulsar } from '../rig/pulsar.ts'
import { busAt, fresh } from './support.ts'

await describePulsar('what the doctor sees of Pulsar', () => {
  let broker: PulsarNode
  beforeAll(async () => {
    broker = await startPulsar({
      tokens: { superusers: ['coze'] },
      extra: { topicLevelPoliciesEnabled: 'true', systemTopicEnabled: 'true' },
    })
  }, 120_000)
  afterAll(() => broker.stop())
  const bus = () => busAt(broker.url, { admin: broker.admin, token: broker.token('coze') })
  const policy = (topic: string, what: string, body: unknown) =>
    broker.ask(`/admin/v2/persistent/public/default/${topic}/${what}`, { method: 'POST', body })

  test('a sound broker that stores and delivers, and topics with nothing to say of', async () => {
    const own = await bus()
    await own.publish(fresh(), 1)
    const found = await own.diagnose()
    expect(found).toContainEqual({
      check: 'broker',
      level: 'ok',
      detail: expect.stringMatching(/^Pulsar \d+\.\d+\.\d+ stores and delivers$/),
    })
    expect(found.filter(({ level }) => level !== 'ok')).toEqual([])
  })

  test('settings by which messages and groups are dropped, the same said once of all topics it is true of', async () => {
    const own = await bus()
    const [aging, squeezed, held, forgetful, kept] = ['aging', 'squeezed', 'held', 'forgetful', 'kept'] as const
    for (const topic of [aging, squeezed, held, forgetful, kept, 'aging2']) await own.publish(topic, 1)
    for (const topic of [aging, 'aging2']) await policy(topic, 'messageTTL?messageTTL=60', undefined)
    const quota = 'backlogQuota?backlogQuotaType=destination_storage'
    await policy(squeezed, quota, { limitSize: 1000, limitTime: -1, policy: 'consumer_backlog_eviction' })
    await policy(held, quota, { limitSize: 1000, limitTime: -1, policy: 'producer_request_hold' })
    await policy(forgetful, 'subscriptionExpirationTime?subscriptionExpirationTime=1440', undefined)
    const idle = {
      inactiveTopicDeleteMode: 'delete_when_subscriptions_caught_up',
      maxInactiveDurationSeconds: 60,
      deleteWhileInactive: true,
    }
    await policy(kept, 'inactiveTopicPolicies', idle)
    await policy(kept, 'retention', { retentionTimeInMinutes: 0, retentionSizeInMB: 0 })
    const seen = async (): Promise<readonly Finding[]> => own.diagnose()
    await expect
      .poll(seen)
      .toContainEqual(
        having('warning', 'topic', /^aging2?, aging2?: what a group has not settled after 60 s is dropped unread/, /messageTTL/),
      )
    await expect
      .poll(seen)
      .toContainEqual(having('warning', 'topic', /^squeezed: past a backlog of 1000 bytes the oldest messages are dropped/))
    await expect.poll(seen).toContainEqual(having('note', 'topic', /^held: .* nothing can be published/))
    await expect.poll(seen).toContainEqual(having('warning', 'topic', /^forgetful: a group in which nobody was for 1 days is deleted/))
    await expect.poll(seen).toContainEqual(having('warning', 'topic', /^kept: it is deleted with its groups after 60 s/))
    await expect.poll(seen).toContainEqual(having('note', 'topic', /^kept: what is published before there is a group/, /historyMs/))
  })

  test('a group that nobody reads; and no way to see anything', async () => {
    const own = await bus()
    const topic = fresh('left')
    await (await own.subscribe(topic, { group: 'gone' }, () => {})).close()
    await own.publish(topic, 1)
    await expect
      .poll(() => own.diagnose())
      .toContainEqual(having('warning', 'group', new RegExp(`^gone on ${topic}: 1 messages wait, and no member`)))
    const blind = await busAt(broker.url, { admin: false, token: broker.token('coze') })
    expect(await blind.diagnose()).toEqual([having('warning', 'http', /cannot be seen/, /pulsar\.admin/)])
  })

  test('the command goes to it with what a file of options says, and leaves nothing there', async () => {
    const { dir, json } = shell()
    const options = join(dir, 'options.json')
    writeFileSync(options, JSON.stringify({ pulsar: { admin: broker.admin, token: broker.token('coze') }, ledger: `file:${dir}/ledger` }))
    const checks = (await json(['doctor', '--url', broker.url, '--options', options])) as { check: string; ok: boolean }[]
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    expect(checks.map(({ check }) => check)).toEqual(expect.arrayContaining(['connect', 'round trip', 'broker']))
    const topics = (await broker.ask('/admin/v2/persistent/public/default')) as string[]
    expect(topics.filter((name) => name.includes('doctor'))).toEqual([])
  })

  test('one who may use a topic and see nothing else is told so, and no more', async () => {
    await broker.ask('/admin/v2/namespaces/public/default/permissions/worker', { method: 'POST', body: ['produce', 'consume'] })
    const own = await busAt(broker.url, { admin: broker.admin, token: broker.token('worker') })
    const found = await own.diagnose()
    expect(found.filter(({ level }) => level === 'problem')).toEqual([])
    expect(found).toContainEqual(expect.objectContaining({ check: 'broker', level: 'ok', detail: expect.stringContaining('may not ask') }))
  })
})

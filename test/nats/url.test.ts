import { expect, test } from 'vitest'
import { checkNatsOptions, type NatsOptions } from '../../src/engines/nats/options.ts'
import { parseServers } from '../../src/engines/nats/url.ts'

const none = { user: undefined, password: undefined, token: undefined }

test.each([
  ['nats://a', { servers: ['a:4222'], websocket: false, tls: false, ...none }],
  ['NATS://a:4333,b,nats://c:1', { servers: ['a:4333', 'b:4222', 'c:1'], websocket: false, tls: false, ...none }],
  ['nats://a,tls://b', { servers: ['a:4222', 'b:4222'], websocket: false, tls: true, ...none }],
  ['nats://[::1]:4222', { servers: ['[::1]:4222'], websocket: false, tls: false, ...none }],
  ['ws://a:8080/nats,b', { servers: ['ws://a:8080/nats', 'ws://b'], websocket: true, tls: false, ...none }],
  ['wss://a', { servers: ['wss://a'], websocket: true, tls: true, ...none }],
  ['nats://me:9pass@a:4333', { servers: ['a:4333'], websocket: false, tls: false, ...none, user: 'me', password: '9pass' }],
  ['nats://me:p%40s%2Cs%3A@a,b', { servers: ['a:4222', 'b:4222'], websocket: false, tls: false, ...none, user: 'me', password: 'p@s,s:' }],
  ['nats://me:a@b/c?d#e%@h', { servers: ['h:4222'], websocket: false, tls: false, ...none, user: 'me', password: 'a@b/c?d#e%' }],
  ['nats://t0ken@a', { servers: ['a:4222'], websocket: false, tls: false, ...none, token: 't0ken' }],
])('%s', (url, expected) => {
  expect(parseServers(url)).toEqual(expected)
})

test.each([
  'http://a',
  'nats://',
  'nats://a,',
  'nats://a:0',
  'nats://a:65536',
  'nats://a:port',
  'nats://a b',
  'nats://a?x=1',
  'nats://a/x',
  'nats://a,ws://b',
  'ws://a,wss://b',
])('%s is refused', (url) => {
  expect(() => parseServers(url)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
})

test.each([
  'nats://me:sec,ret@a',
  'nats://me:12,34@a',
  'nats://me:sec@ret@a b',
  'nats://me:secret@a,other:secret2@b',
  'nats://me:secret@a:x',
])('nothing of the secret in %s is in the error', (url) => {
  let message = ''
  try {
    parseServers(url)
  } catch (error) {
    message = (error as Error).message
  }
  expect(message).not.toBe('')
  expect(message).not.toMatch(/sec|ret|12|34/)
})

test.each<[string, object]>([
  ['nats.replicas', { replicas: 6 }],
  ['nats.reconnectAttempts', { reconnectAttempts: -2 }],
  ['nats.reconnectWaitMs', { reconnectWaitMs: 0 }],
  ['nats.reconnectJitterMs', { reconnectJitterMs: -1 }],
  ['nats.connectTimeoutMs', { connectTimeoutMs: 1.5 }],
  ['nats.pingIntervalMs', { pingIntervalMs: 1 }],
  ['nats.partitions', { partitions: 1000 }],
  ['nats.dedupeWindowMs', { dedupeWindowMs: 99 }],
  ['nats.storage', { storage: 'disk' }],
  ['nats.provision', { provision: 'maybe' }],
  ['nats.waitForServer', { waitForServer: 'yes' }],
  ['nats.jetstream', { jetstream: 'false' }],
  ['nats.tls', { tls: true }],
  ['nats.tls.ca', { tls: { ca: '' } }],
  ['nats.tls.rejectUnauthorized', { tls: { rejectUnauthorized: false } }],
  ['nats.tls.cert and nats.tls.key', { tls: { cert: 'x' } }],
  ['nats.user', { user: '' }],
  ['nats.tokn', { tokn: 'SECRET' }],
  ['nats.token', { token: 77 }],
  ['nats.creds', { creds: 'SECRET', jwt: 'SECRET' }],
])('%s is checked', (name, options) => {
  expect(() => checkNatsOptions(options as NatsOptions)).toThrow(
    expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(name) }),
  )
  expect(() => checkNatsOptions(options as NatsOptions)).not.toThrow(/SECRET/)
})

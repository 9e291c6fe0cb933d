import { jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { toBusError } from '../../../errors.ts'
import type { Finding } from '../../engine.ts'
import { dial, resolveTarget, type Target } from '../dial.ts'
import { jetStreamInfo, refusesCredentials } from '../failure.ts'
import type { NatsOptions } from '../options.ts'
import { reach } from '../reach.ts'

/** Each server of the address: name, port, TLS, credentials, JetStream. Stops at the first step that fails. */
export async function examineWay(url: string, options: NatsOptions = {}): Promise<readonly Finding[]> {
  let target: Target
  try {
    target = resolveTarget(url, options)
  } catch (error) {
    return [{ check: 'configuration', level: 'problem', detail: toBusError(error).message }]
  }
  return (await Promise.all(target.servers.map((server) => examineServer(target, server)))).flat()
}

async function examineServer(target: Target, server: string): Promise<Finding[]> {
  const { websocket, tls, options } = target
  const { stages, failed } = await reach({ server, websocket, tls, options, through: true })
  const findings: Finding[] = stages.map(({ stage, detail }) => ({ check: stage, level: 'ok', detail: `${server}: ${detail}` }))
  if (failed) return [...findings, { check: failed.stage, level: 'problem', detail: `${server}: ${failed.error.message}` }]
  if (!tls && !stages.some(({ stage }) => stage === 'TLS'))
    findings.push({
      check: 'TLS',
      level: 'note',
      detail: `${server}: not encrypted`,
      advice: 'on a network that is not yours alone use tls:// or wss://',
    })
  let nc: NatsConnection | undefined
  try {
    nc = await dial(target, server)
    findings.push({ check: 'credentials', level: 'ok', detail: `${server}: let in` })
    if (options.jetstream === false) return findings
    await jetStreamInfo(await jetstreamManager(nc, { checkAPI: false }))
    findings.push({ check: 'JetStream', level: 'ok', detail: `${server}: answers` })
  } catch (thrown) {
    const error = toBusError(thrown)
    findings.push({
      check: nc ? 'JetStream' : 'credentials',
      level: 'problem',
      detail: `${server}: ${error.message}`,
      ...(refusesCredentials(error.cause)
        ? { advice: 'compare user, password, token, seed or .creds file with what the server knows; is a JWT expired?' }
        : {}),
    })
  } finally {
    await nc?.close()
  }
  return findings
}

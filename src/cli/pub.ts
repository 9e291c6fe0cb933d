import { createInterface } from 'node:readline'
import { connect } from '../bus.ts'
import { BusError } from '../errors.ts'
import type { Duration } from '../message/duration.ts'
import type { PublishOptions } from '../publish/encode.ts'
import { parseJson } from './output.ts'

export interface PubOptions {
  readonly url: string
  readonly json?: boolean
  readonly key?: string
  readonly id?: string
  readonly header?: readonly string[]
  readonly delay?: string
  readonly raw?: boolean
}

function optionsOf(options: PubOptions): PublishOptions {
  const headers: Record<string, string> = {}
  for (const pair of options.header ?? []) {
    const at = pair.indexOf('=')
    if (at < 1) throw new BusError('invalid_argument', `--header '${pair}' must be name=value`)
    headers[pair.slice(0, at)] = pair.slice(at + 1)
  }
  return {
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.id === undefined ? {} : { id: options.id }),
    ...(options.header ? { headers } : {}),
    ...(options.delay === undefined ? {} : { delay: (/^\d+$/.test(options.delay) ? Number(options.delay) : options.delay) as Duration }),
  }
}

/** Publishes the body given, or one message for each JSON line of standard input. */
export async function pub(topic: string, body: string | undefined, options: PubOptions): Promise<void> {
  const how = optionsOf(options)
  const bus = await connect(options.url)
  try {
    let sent = 0
    const say = (receipt: object): void => {
      sent++
      if (options.json) process.stdout.write(`${JSON.stringify(receipt)}\n`)
    }
    if (body !== undefined) say(await bus.publish(topic, parseJson(body, 'the body'), how))
    else if (options.raw) {
      const chunks: Buffer[] = []
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
      say(await bus.publish(topic, new Uint8Array(Buffer.concat(chunks)), how))
    } else {
      let line = 0
      let batch: unknown[] = []
      const flush = async (): Promise<void> => {
        const outcomes = await bus.publishMany(topic, batch, how)
        batch = []
        for (const outcome of outcomes) {
          if (!outcome.ok) throw outcome.error
          say(outcome)
        }
        if (process.stderr.isTTY) process.stderr.write(`\r${sent} published`)
      }
      for await (const text of createInterface({ input: process.stdin })) {
        line++
        if (text.trim() === '') continue
        batch.push(parseJson(text, `line ${line}`))
        if (batch.length === 1000) await flush()
      }
      if (batch.length > 0) await flush()
    }
    if (!options.json) process.stderr.write(`${process.stderr.isTTY ? '\r' : ''}${sent} published to ${topic}\n`)
  } finally {
    await bus.close()
  }
}

import { spawn } from 'node:child_process'
import { connect } from '../bus.ts'
import type { DeliveryContext, Message } from '../deliver/message.ts'
import { onStop, paint } from './output.ts'

export interface SubOptions {
  readonly url: string
  readonly json?: boolean
  readonly group?: string
  readonly exec?: string
  readonly limit?: string
  readonly from: 'earliest' | 'new'
  readonly concurrency: string
}

/** Runs the command with the body on its standard input; resolves to nothing, or throws for any exit but 0. */
function execute(command: string, message: Message, delivery: DeliveryContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, {
      shell: true,
      stdio: ['pipe', 'inherit', 'inherit'],
      signal: delivery.signal,
      env: {
        ...process.env,
        COZEBUS_ID: message.id,
        COZEBUS_TOPIC: message.topic,
        COZEBUS_KEY: message.key ?? '',
        COZEBUS_ATTEMPT: String(delivery.attempt),
      },
    })
    child.on('error', reject)
    child.on('close', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`the command ended with ${signal ?? `exit code ${code}`}`)),
    )
    // A command that does not read its input is no failure.
    child.stdin.on('error', () => {})
    child.stdin.end(message.bytes)
  })
}

function print(message: Message, json: boolean): void {
  const { id, topic, key, headers, publishedAt } = message
  const body = message.body instanceof Uint8Array ? { base64: Buffer.from(message.body).toString('base64') } : message.body
  process.stdout.write(
    json
      ? `${JSON.stringify({ id, topic, key, headers, publishedAt, body })}\n`
      : `${paint('dim', `${publishedAt.toISOString()} ${topic}${key === undefined ? '' : ` [${key}]`}`)} ${JSON.stringify(body)}\n`,
  )
}

/** Follows a topic live, or works for a group. Ends at the limit, or drains at Ctrl-C. */
export async function sub(topic: string, options: SubOptions): Promise<void> {
  const bus = await connect(options.url)
  const limit = options.limit === undefined ? Number.POSITIVE_INFINITY : Number(options.limit)
  let seen = 0
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  onStop(() => bus.close())
  const handle = async (message: Message, delivery?: DeliveryContext): Promise<void> => {
    // Past the limit nothing is taken: it is given back by the drain.
    if (seen >= limit) {
      if (delivery)
        await new Promise((_, reject) => delivery.signal.addEventListener('abort', () => reject(new Error('the limit is reached'))))
      return
    }
    seen++
    if (options.exec && delivery) await execute(options.exec, message, delivery)
    else print(message, options.json ?? false)
    if (seen >= limit) end()
  }
  const group = options.group ?? (options.exec ? 'cli' : undefined)
  const work =
    group === undefined
      ? await bus.subscribe(topic, (message) => handle(message))
      : await bus.subscribe(topic, { group, from: options.from, concurrency: Number(options.concurrency) }, handle)
  // A live subscription holds nothing open by itself.
  const alive = setInterval(() => {}, 60_000)
  await ended
  clearInterval(alive)
  await ('status' in work ? work.close({ deadlineMs: 200 }) : work.close())
  await bus.close()
}

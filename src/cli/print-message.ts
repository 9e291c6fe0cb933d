import type { StoredView } from '../admin/admin.ts'
import type { Message } from '../deliver/message.ts'
import { bodyView } from '../message/exact-json.ts'
import { paint, plain } from './output.ts'

/** One line a message: time, topic, key and body for people, an object for programs. */
export function printMessage(message: Message | StoredView, json: boolean, more: Record<string, unknown> = {}): void {
  const { id, topic, key, headers, publishedAt } = message
  const body = bodyView(message)
  process.stdout.write(
    json
      ? `${JSON.stringify({ id, topic, key, headers, publishedAt, ...more, body })}\n`
      : `${paint('dim', `${publishedAt.toISOString()} ${topic}${key === undefined ? '' : ` [${plain(key)}]`}`)} ${JSON.stringify(body)}\n`,
  )
}

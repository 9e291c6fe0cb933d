import type { StreamInfo } from '@nats-io/jetstream'
import type { Api } from './api.ts'

/** Of a search; what they leave over is some messages more. */
const steps = 24

/** The sequence of the first message of that time or later, by the leader's word, or of one before it. */
export async function firstSince(api: Api, { config, state }: StreamInfo, time: number): Promise<number> {
  if (state.messages === 0 || Date.parse(state.first_ts as unknown as string) >= time) return state.first_seq
  if (Date.parse(state.last_ts as unknown as string) < time) return state.last_seq + 1
  let [old, young] = [state.first_seq, state.last_seq]
  for (let step = 0; step < steps && young - old > 1; step++) {
    const middle = Math.floor((old + young) / 2)
    const message = await nextOf(api, config.name, middle, '>')
    if (message && message.time.getTime() < time) old = Math.max(message.seq, middle)
    else young = middle
  }
  return old
}

/** The message there, or the next one of the subject, as the leader has it. */
export function nextOf(api: Api, stream: string, seq: number, subject: string) {
  return api.streams.getMessage(stream, { seq, next_by_subj: subject } as never)
}

/** By the server's clock, where it tells. */
export function timeOf(info: StreamInfo): number | undefined {
  const { ts } = info as { ts?: string }
  return ts === undefined ? undefined : Date.parse(ts)
}

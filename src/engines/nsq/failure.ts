import { BusError } from '../../errors.ts'

/** nsqd's word on one message: it belongs to another client, or to nobody, by now. The connection goes on. */
const ofMessage = /^E_(?:FIN|REQ|TOUCH)_FAILED (?:FIN|REQ|TOUCH) ([0-9a-f]{16}) /

/** The message that nsqd refuses to hear of; undefined for an error that ends the connection. */
export function refusedMessage(text: string): string | undefined {
  return ofMessage.exec(text)?.[1]
}

/** By the name that nsqd gives to what it refuses in IDENTIFY. */
const refusedSettings: Readonly<Record<string, string>> = {
  'heartbeat interval': 'this nsqd wants signs of life more often (--max-heartbeat-interval); set nsq.heartbeatMs to no more than that',
  'msg timeout': 'this nsqd gives no lease that long (--max-msg-timeout); set lease to no more than that',
}

/** Whether nsqd refuses for how long it may gather what it sends. */
export function refusesOutputBuffer(error: unknown): boolean {
  return error instanceof BusError && /E_BAD_BODY IDENTIFY output buffer timeout/.test(error.message)
}

function settingRefused(text: string): string | undefined {
  if (!text.startsWith('E_BAD_BODY IDENTIFY')) return undefined
  const name = /IDENTIFY (.+) \(-?\d+\) is invalid/.exec(text)?.[1] ?? ''
  return refusedSettings[name] ?? 'nsqd refuses how it is to treat this client'
}

/** What an nsqd takes at most, of a message or of a command with many, as told by its refusal of something larger. */
export function limitIn(text: string): { readonly of: 'message' | 'body'; readonly bytes: number } | undefined {
  const [, of, bytes] = /PUB (message|body) too big \d+ > (\d+)/.exec(text) ?? []
  return bytes === undefined ? undefined : { of: of as 'message' | 'body', bytes: Number(bytes) }
}

/** What nsqd said before it ended the connection, in the words of the bus. */
export function nsqdError(text: string, what: string): BusError {
  const say = (code: ConstructorParameters<typeof BusError>[0], why: string): BusError =>
    new BusError(code, `${what}: ${why} (nsqd: ${text})`)
  if (text.includes('TLS required'))
    return say('unauthorized', 'this nsqd wants TLS; give nsq: { tls: {} }, with a ca where it is your own')
  if (text.startsWith('E_UNAUTHORIZED') && text.includes(' on ')) return say('forbidden', 'this secret does not allow it')
  if (/^E_(AUTH_FIRST|AUTH_FAILED|UNAUTHORIZED|AUTH_ERROR)/.test(text)) return say('unauthorized', 'nsqd refuses the secret (nsq.secret)')
  if (text.startsWith('E_AUTH_DISABLED')) return say('unauthorized', 'nsqd asks for no secret; leave out nsq.secret')
  const setting = settingRefused(text)
  if (setting !== undefined) return say('invalid_argument', setting)
  if (/^E_BAD_(MESSAGE|BODY)/.test(text)) return say('message_too_large', 'nsqd refuses its size')
  if (text.startsWith('E_SUB_FAILED'))
    return say('engine_unavailable', 'nsqd takes no more readers of this channel, or it is being deleted')
  if (text.startsWith('E_INVALID DPUB'))
    return say('unsupported', 'nsqd keeps no delay that long (--max-req-timeout); tell the bus by nsq.maxDelayMs, and the ledger keeps it')
  if (/exiting/i.test(text)) return say('engine_unavailable', 'nsqd is about to end, or the topic is being deleted')
  if (/^E_(D|)PUB_FAILED/.test(text)) return say('publish_rejected', 'nsqd did not store it')
  if (text.startsWith('E_MPUB_FAILED')) return say('publish_unknown', 'nsqd may have stored a part')
  if (text.startsWith('E_BAD_TOPIC') || text.startsWith('E_BAD_CHANNEL')) return say('invalid_topic', 'nsqd takes no such name')
  return say('engine_unavailable', 'nsqd refused it')
}

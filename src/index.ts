// Connecting and what a bus is

// Looking in
export type { Admin, GroupView, StoredView } from './admin/admin.ts'
export type { DeadLetterDesk, DeadLetterFilter, DeadLetterView } from './admin/dead-letter-desk.ts'
export { type Bus, type BusStatus, type Complete, type ConnectOptions, connect, connectEngine, examine, type Health } from './bus.ts'
// Subscribing
export type { BatchHandler, Handler } from './deliver/handler.ts'
export type { BatchOptions } from './deliver/make-runner.ts'
export type { DeliveryContext, Message } from './deliver/message.ts'
export type { BreakerOptions, RetryOptions, SubscribeOptions } from './deliver/options.ts'
export { Reject, Retry } from './deliver/outcome.ts'
export type { Subscription, SubscriptionStatus } from './deliver/subscription.ts'
export type { Finding, TopicInfo } from './engines/engine.ts'
// Errors
export { BusError, type BusErrorCode, errorTable } from './errors.ts'
export type { Entry, Kv } from './kv/kv.ts'
export { bytesCodec, type Codec, jsonCodec } from './message/codec.ts'
export type { Duration } from './message/duration.ts'
export type { Headers } from './message/headers.ts'
export { channels } from './observe/events.ts'
// Publishing
export type { PublishOptions } from './publish/encode.ts'
export type { Outcome, Receipt } from './publish/receipt.ts'
// Requests and key-value
export type { Answer, Request } from './requests/requests.ts'
// Topics
export {
  type Address,
  type InputOf,
  type OutputOf,
  type Params,
  type Selection,
  type TopicDefinition,
  type TopicOptions,
  topic,
} from './topic/definition.ts'
export type { PublishTopic, ReadTopic } from './topic/resolve.ts'

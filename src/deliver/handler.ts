import type { DeliveryContext, Message } from './message.ts'

/** Returning (or resolving) acknowledges; throwing (or rejecting) retries by the policy. */
export type Handler<Body = any, P = Record<string, string>> = (message: Message<Body, P>, delivery: DeliveryContext) => unknown

/** Gets several messages; returns nothing (all went well) or one entry a message: an Error for each that failed. Throwing fails all. */
export type BatchHandler<Body = any, P = Record<string, string>> = (
  messages: readonly Message<Body, P>[],
  deliveries: readonly DeliveryContext[],
) => unknown

import type { ConsumerInfo, JetStreamManager, StreamInfo } from '@nats-io/jetstream'
import { untilAnswered } from './asking.ts'
import { apiCode, isApi } from './failure.ts'
import { placing } from './placement.ts'

type StreamsOf<Name extends keyof JetStreamManager['streams']> = JetStreamManager['streams'][Name]
type ConsumersOf<Name extends keyof JetStreamManager['consumers']> = JetStreamManager['consumers'][Name]

/**
 * The server's API as the engine asks it: each request again while leaders change, as all of them may be made twice. A list
 * is read whole, as the client's own is at an end after one failure.
 */
export interface Api {
  readonly streams: {
    readonly info: StreamsOf<'info'>
    readonly add: StreamsOf<'add'>
    readonly update: StreamsOf<'update'>
    readonly delete: StreamsOf<'delete'>
    readonly purge: StreamsOf<'purge'>
    readonly getMessage: StreamsOf<'getMessage'>
    names(subject?: string): Promise<string[]>
    list(): Promise<StreamInfo[]>
  }
  readonly consumers: {
    readonly info: ConsumersOf<'info'>
    readonly add: ConsumersOf<'add'>
    readonly update: ConsumersOf<'update'>
    readonly delete: ConsumersOf<'delete'>
    list(stream: string): Promise<ConsumerInfo[]>
  }
}

/** `lists`: the same, with more time for an answer. A server waits four seconds for each that has no leader, and then leaves it out. */
export function patientApi(jsm: JetStreamManager, lists = jsm): Api {
  const { streams, consumers } = jsm
  return {
    streams: {
      info: (...args) => untilAnswered(() => streams.info(...args)),
      add: (config) => untilAnswered(placing(config.num_replicas ?? 1, () => streams.add(config))),
      update: (name, config) => untilAnswered(placing(config?.num_replicas ?? 1, () => streams.update(name, config))),
      delete: (name) => untilGone(() => streams.delete(name), apiCode.streamNotFound),
      purge: (...args) => untilAnswered(() => streams.purge(...args)),
      getMessage: (...args) => untilAnswered(() => streams.getMessage(...args)),
      names: (subject) => untilAnswered(() => wholeOf(streams.names(subject))),
      list: () => untilAnswered(() => wholeOf(lists.streams.list())),
    },
    consumers: {
      info: (...args) => untilAnswered(() => consumers.info(...args)),
      add: (...args) => untilAnswered(() => consumers.add(...args)),
      update: (...args) => untilAnswered(() => consumers.update(...args)),
      delete: (stream, name) => untilGone(() => consumers.delete(stream, name), apiCode.consumerNotFound),
      list: (stream) => untilAnswered(() => wholeOf(lists.consumers.list(stream))),
    },
  }
}

async function wholeOf<T>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of list) found.push(item)
  return found
}

/**
 * Not found at the second try: the first one did it. Its answer was lost, or told of files that could not be removed because
 * the server was writing to them (2.10 under load, "directory not empty"): it knows the thing no longer all the same.
 */
function untilGone(remove: () => Promise<boolean>, notFound: number): Promise<boolean> {
  let tried = false
  let leftOver = false
  const attempt = (): Promise<boolean> =>
    remove().catch((error) => {
      if (tried && isApi(error, notFound)) return true
      tried = true
      if (leftOver || !(isApi(error, apiCode.general) || isApi(error, apiCode.streamDeleteFailed))) throw error
      leftOver = true
      return attempt()
    })
  return untilAnswered(attempt)
}

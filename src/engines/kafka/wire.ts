import type { Connection, Reader, Writer } from '@platformatic/kafka'
import type { Kafka } from './client.ts'
import { type Batch, decodeBatches } from './record-batch.ts'

/** What goes to each partition: a batch as it lies on the wire. */
export interface ProduceTopic {
  readonly name: string
  readonly partitions: readonly { readonly index: number; readonly records: Buffer }[]
}

interface FetchAnswer {
  readonly errorCode: number
  readonly responses: readonly {
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly abortedTransactions: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[] | null
      readonly records: readonly Batch[]
      /** Why what stands there cannot be read; of this partition alone. */
      readonly broken?: unknown
    }[]
  }[]
}

type ProduceArguments = [acks: number, timeoutMs: number, topics: readonly ProduceTopic[]]
type FetchArguments = Parameters<Kafka['fetchV13']['createRequest']>
type ProduceAnswer = ReturnType<Kafka['produceV11']['parseResponse']>

/** Of a version that both sides know, one that the client knows too. */
interface Module {
  createRequest(...args: FetchArguments): Writer
  parseResponse(correlationId: number, apiKey: number, apiVersion: number, reader: Reader): ProduceAnswer
}

interface Api<Arguments extends unknown[], Answer> {
  async(connection: Connection, ...args: Arguments): Promise<Answer>
}

export interface RecordApis {
  Produce(version: number, client: Module): Api<ProduceArguments, ProduceAnswer>
  Fetch(version: number, client: Module): Api<FetchArguments, FetchAnswer>
}

const produceKey = 0
const fetchKey = 1

/**
 * The two questions that carry records, as the client asks them but for the records themselves, which are packed and unpacked here
 * ({@link decodeBatches}).
 */
export function recordApis(kafka: Kafka): RecordApis {
  const produce = (acks: number, timeoutMs: number, topics: readonly ProduceTopic[]): Writer =>
    kafka.Writer.create()
      .appendString(null)
      .appendInt16(acks)
      .appendInt32(timeoutMs)
      .appendArray([...topics], (topic, { name, partitions }) => {
        topic.appendString(name).appendArray([...partitions], (partition, { index, records }) => {
          partition
            .appendInt32(index)
            .appendUnsignedVarInt(records.length + 1)
            .append(records)
        })
      })
      .appendTaggedFields()
  const fetched = (_correlationId: number, apiKey: number, apiVersion: number, reader: Reader): FetchAnswer => {
    const answer = readFetched(reader, kafka.compressionsAlgorithmsByBitmask)
    const errors = errorsIn(answer)
    if (errors.length > 0) throw new kafka.ResponseError(apiKey, apiVersion, Object.fromEntries(errors), answer)
    return answer
  }
  return {
    Produce: (version, { parseResponse }) => kafka.createAPI<ProduceArguments, ProduceAnswer>(produceKey, version, produce, parseResponse),
    Fetch: (version, { createRequest }) => kafka.createAPI<FetchArguments, FetchAnswer>(fetchKey, version, createRequest, fetched),
  }
}

/** As the client tells of them: by where they stand. */
function errorsIn({ errorCode, responses }: FetchAnswer): [string, [number, null]][] {
  const errors: [string, [number, null]][] = errorCode === 0 ? [] : [['', [errorCode, null]]]
  for (const [i, { partitions }] of responses.entries())
    for (const [j, partition] of partitions.entries())
      if (partition.errorCode !== 0) errors.push([`/responses/${i}/partitions/${j}`, [partition.errorCode, null]])
  return errors
}

/** As it is from version 13 to 17 and on: what was added since stands in tagged fields. */
function readFetched(reader: Reader, codecs: Parameters<typeof decodeBatches>[1]): FetchAnswer {
  reader.readInt32() // how long the broker made it wait
  const errorCode = reader.readInt16()
  reader.readInt32() // the session, of which there is none
  const responses = reader.readArray((topic) => ({
    topicId: topic.readUUID(),
    partitions: topic.readArray((partition) => {
      const partitionIndex = partition.readInt32()
      const error = partition.readInt16()
      for (let i = 0; i < 3; i++) partition.readInt64() // where the log ends, where what is stable ends, where the log begins
      const abortedTransactions = partition.readNullableArray((one) => ({ producerId: one.readInt64(), firstOffset: one.readInt64() }))
      partition.readInt32() // the replica to prefer
      const size = partition.readUnsignedVarInt() - 1
      const place = { partitionIndex, errorCode: error, abortedTransactions }
      if (size <= 0) return { ...place, records: [] }
      const pieces = partition.buffer.subarray(partition.position, partition.position + size).buffers
      partition.skip(size)
      try {
        return { ...place, records: decodeBatches(pieces, codecs) }
      } catch (broken) {
        return { ...place, records: [], broken }
      }
    }),
  }))
  return { errorCode, responses }
}

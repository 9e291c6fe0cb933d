import { BusError } from '../../errors.ts'

/** The client: what goes over the wire, connections, TLS, SASL, compression. Who reads what, and when, is decided here. */
export type Kafka = typeof import('@platformatic/kafka')

/** @throws BusError `engine_missing` */
export async function loadKafka(): Promise<Kafka> {
  try {
    return await import('@platformatic/kafka')
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new BusError(
      'engine_missing',
      'Kafka needs the package @platformatic/kafka, which is not installed: npm install @platformatic/kafka',
      {
        cause: error,
      },
    )
  }
}

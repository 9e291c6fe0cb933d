import { loadOptional } from '../optional.ts'

/** The client: what goes over the wire but for batches of records, connections, TLS, SASL, compression. Who reads what, and when, is decided here. */
export type Kafka = typeof import('@platformatic/kafka')

/** @throws BusError `engine_missing` */
export const loadKafka = (): Promise<Kafka> =>
  loadOptional('Kafka', '@platformatic/kafka', () => import('@platformatic/kafka'), 'npm install @platformatic/kafka')

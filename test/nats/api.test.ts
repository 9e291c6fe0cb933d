import { JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream'
import { expect, test } from 'vitest'
import { patientApi } from '../../src/engines/nats/api.ts'
import { apiCode } from '../../src/engines/nats/failure.ts'

const leftOver = new JetStreamApiError({ code: 500, err_code: apiCode.general, description: 'unlinkat obs/g: directory not empty' })
const gone = new JetStreamApiError({ code: 404, err_code: apiCode.consumerNotFound, description: 'consumer not found' })

/** Deletes a consumer of a server that answers so, in turn. */
function deleting(...answers: JetStreamApiError[]): Promise<boolean> {
  const consumers = {
    delete: async () => {
      throw answers.shift()!
    },
  }
  return patientApi({ streams: {}, consumers } as unknown as JetStreamManager).consumers.delete('stream', 'g')
}

test('a consumer whose files could not be removed is deleted all the same', async () => {
  expect(await deleting(leftOver, gone)).toBe(true)
})

test('a consumer that was not there at the first try is told of, as is what stays', async () => {
  await expect(deleting(gone)).rejects.toBe(gone)
  await expect(deleting(leftOver, leftOver)).rejects.toBe(leftOver)
})

import { expect, test } from 'vitest'
import { Job } from '../../src/deliver/job.ts'
import { Lanes } from '../../src/deliver/lanes.ts'

function job(id: string): Job {
  return new Job({} as never, 's', id, 's', 'k', undefined, new Uint8Array(), 0, 0)
}

test('a lane runs its head; the next one runs when it leaves', () => {
  const lanes = new Lanes()
  const [a, b] = [job('a'), job('b')]
  expect([lanes.enter('k', a), lanes.enter('k', b), lanes.parked]).toEqual([true, false, 1])
  expect(lanes.leave(a)).toBe(b)
  expect(lanes.leave(b)).toBeUndefined()
  expect([lanes.parked, lanes.enter('k', job('c'))]).toEqual([0, true])
})

test('what stands behind a head that was lost comes out with it', () => {
  const lanes = new Lanes()
  const jobs = ['a', 'b', 'c'].map(job)
  for (const one of jobs) lanes.enter('k', one)
  expect(lanes.behind(jobs[0]!)).toEqual(jobs.slice(1))
  expect(lanes.leave(jobs[0]!)).toBeUndefined()
  expect([lanes.parked, lanes.enter('k', job('d'))]).toEqual([0, true])
})

test('what stands behind a waiting one comes out, and the head stays', () => {
  const lanes = new Lanes()
  const jobs = ['a', 'b', 'c', 'd'].map(job)
  for (const one of jobs) lanes.enter('k', one)
  expect(lanes.behind(jobs[2]!)).toEqual([jobs[3]])
  lanes.leave(jobs[2]!)
  expect(lanes.parked).toBe(1)
  expect(lanes.leave(jobs[0]!)).toBe(jobs[1])
})

import { describe, test } from 'vitest'
import type { Subject } from '../../src/testing/harness.ts'
import { conformance } from '../../src/testing/suite.ts'

/**
 * Hands the suite to the runner. Cases mostly wait, each on a topic of its own, so several run at once; where some
 * restart the broker each gets one of its own from `subject`. `COZEBUS_SEED` gives the workloads of an earlier run again.
 */
export async function certify(title: string, subject: () => Subject): Promise<void> {
  const { COZEBUS_SEED: seed } = process.env
  const tests = await conformance(subject())
  describe.concurrent(title, () => {
    for (const [i, { name, skip }] of tests.entries())
      test.skipIf(skip !== undefined)(skip === undefined ? name : `${name} (${skip})`, async () => {
        await (await conformance(subject()))[i]!.run(seed === undefined ? undefined : Number(seed))
      })
  })
}

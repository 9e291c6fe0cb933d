// Opens a store as a user without rights, and says what came of it: root may write anywhere, so tests of it need another user.
import { accessSync } from 'node:fs'
import { connect } from '../../src/index.ts'

const dir = process.argv[2]!
if (process.getuid!() === 0) {
  process.setgroups!([])
  process.setgid!(65_534)
  process.setuid!(65_534)
}
try {
  accessSync(new URL('../../src/index.ts', import.meta.url))
} catch {
  console.log('unreadable')
  process.exit(0)
}
try {
  const bus = await connect(`file:${dir}`)
  await bus.publish('a', 1)
  await bus.close()
  console.log('opened')
} catch (error) {
  console.log((error as { code?: string }).code, String(error))
}

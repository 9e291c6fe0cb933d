// A process that opens a store with the migrations it is given, once it is told to: see migrations.test.ts.
import { Database } from '../../src/engines/embedded/store/database.ts'

const [dir, steps] = process.argv.slice(2) as [string, string]
process.on('message', () => {
  try {
    new Database(dir, JSON.parse(steps)).close()
    process.send!('opened')
  } catch (error) {
    process.send!(String(error))
  }
  process.disconnect()
})
process.send!('ready')

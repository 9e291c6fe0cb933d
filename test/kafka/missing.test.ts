import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('without the client package the error says what to install', async () => {
  // A process in which nobody finds it.
  const program = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(name, context, next) {
        if (name === '@platformatic/kafka') throw Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' })
        return next(name, context)
      },
    })
    const { connect } = await import('./src/index.ts')
    await connect('kafka://127.0.0.1:9092').catch(({ code, message }) => console.log(code, message))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: process.cwd() })
  expect(stdout.trim()).toBe(
    'engine_missing Kafka needs the package @platformatic/kafka, which is not installed: npm install @platformatic/kafka',
  )
})

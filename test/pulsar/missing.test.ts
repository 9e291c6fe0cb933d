import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

// `crc-32` is asked for by a file of it.
test.each([
  ['protobufjs', 'npm install protobufjs crc-32'],
  ['crc-32', 'npm install protobufjs crc-32'],
])('without the package %s the error says what to install', async (name, install) => {
  // A process in which nobody finds it.
  const program = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(name, context, next) {
        if (name.startsWith('${name}')) throw Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' })
        return next(name, context)
      },
    })
    const { connect } = await import('./src/index.ts')
    await connect('pulsar://127.0.0.1:6650').catch(({ code, message }) => console.log(code, message))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: process.cwd() })
  expect(stdout.trim()).toBe(`engine_missing Pulsar needs the package ${name}, which is not installed: ${install}`)
})

#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { addBench } from './bench.ts'
import { addDlq } from './dlq.ts'
import { addDoctor } from './doctor.ts'
import { addGroups } from './groups.ts'
import { fail } from './output.ts'
import { addPub } from './pub.ts'
import { addServe } from './serve.ts'
import { addSub } from './sub.ts'
import { addTopics } from './topics.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
const program = new Command('cozebus')
  .description('An event bus for agent platforms: publish, work through and look into topics.')
  .addOption(new Option('--url <url>', 'where the bus is').env('COZEBUS_URL').default('file:./.cozebus'))
  .addOption(new Option('--options <file>', "JSON file with what connect takes: a broker's options, ledger").env('COZEBUS_OPTIONS'))
  .option('--context <name>', 'a context of the NATS command line, instead of --url')
  .version(version)
  .option('--json', 'print JSON')
  .option('--no-color', 'no colour, like NO_COLOR=1')
  .addHelpText('after', '\nExamples:\n  $ cozebus serve\n  $ cozebus pub docs.added \'{"id":"d1"}\'')
  .addHelpText(
    'afterAll',
    '\nExit codes: 0 done · 1 failed · 2 wrong use · 3 no connection or store · 4 not confirmed in time · 5 refused · 6 not found · 7 not authorized · 130 interrupted',
  )
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
  .hook('preAction', (command) => {
    if (command.opts()['color'] === false) process.env.NO_COLOR = '1'
    const { context } = command.opts<{ context?: string }>()
    if (context !== undefined) command.setOptionValue('url', `nats+context:${context}`)
  })

for (const add of [addServe, addPub, addSub, addTopics, addGroups, addDlq, addDoctor, addBench]) add(program)

// Whoever reads us may stop reading (`| head`): that is an end, not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  fail(error)
})

try {
  await program.parseAsync()
} catch (error) {
  // Commander has said what is wrong already; help and version are no failures.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else fail(error)
}

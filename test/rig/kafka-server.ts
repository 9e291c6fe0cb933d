// Kafka from its Maven artifacts: no distribution is needed, nor ZooKeeper.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command, installOnce } from './install.ts'

export const kafkaVersion = '4.4.0'

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>rig</groupId><artifactId>kafka-rig</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${kafkaVersion}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.5</version></dependency>
</dependencies></project>
`

let found: Promise<string> | undefined

/** Resolves to the folder of the jars; rejects with what is missing on this machine. */
export function kafkaJars(): Promise<string> {
  found ??= install()
  return found
}

async function install(): Promise<string> {
  await command('java', ['-version']).catch(explain('Java'))
  return installOnce(`kafka-${kafkaVersion}`, async (into) => {
    process.stderr.write(`fetching Kafka ${kafkaVersion} (once)…\n`)
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

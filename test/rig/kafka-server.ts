// Kafka from its Maven artifacts: no distribution is needed, nor ZooKeeper.
import { mavenJars } from './maven.ts'

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
  found ??= mavenJars(`kafka-${kafkaVersion}`, pom)
  return found
}

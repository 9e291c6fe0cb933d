// RocketMQ from its Maven artifacts: a name server and brokers, without the proxy.
import { mavenJars } from './maven.ts'

export const rocketmqVersion = '5.5.0'

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>rig</groupId><artifactId>rocketmq-rig</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-namesrv</artifactId><version>${rocketmqVersion}</version></dependency>
<dependency><groupId>org.apache.rocketmq</groupId><artifactId>rocketmq-broker</artifactId><version>${rocketmqVersion}</version></dependency>
</dependencies></project>
`

let found: Promise<string> | undefined

/** Resolves to the folder of the jars; rejects with what is missing on this machine. */
export function rocketmqJars(): Promise<string> {
  found ??= mavenJars(`rocketmq-${rocketmqVersion}`, pom)
  return found
}

const opened = ['java.base/java.nio', 'java.base/sun.nio.ch', 'java.base/java.lang', 'java.base/java.util']
const exported = ['java.base/jdk.internal.ref', 'java.base/sun.nio.ch']

const java = [
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Djava.awt.headless=true',
  ...opened.flatMap((part) => ['--add-opens', `${part}=ALL-UNNAMED`]),
  ...exported.flatMap((part) => ['--add-exports', `${part}=ALL-UNNAMED`]),
]

export const nameServerJava = ['-Xms32m', '-Xmx128m', '-XX:MaxDirectMemorySize=64m', ...java]
/** With less memory beside the heap a broker fails large messages and loses what is given back. */
export const brokerJava = ['-Xms128m', '-Xmx512m', '-XX:MaxDirectMemorySize=1g', ...java]

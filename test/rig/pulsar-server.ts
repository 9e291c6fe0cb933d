// Pulsar standalone from its Maven artifacts: no distribution is needed, nor ZooKeeper.
import { mavenJars } from './maven.ts'

export const pulsarVersion = '4.2.4'

/** Left out, as a standalone broker does not load them: 43 MB. */
const unneeded = [
  ['io.kubernetes', '*'],
  ['io.github.oxia-db', '*'],
  ['org.apache.pulsar', 'jetcd-core-shaded'],
  ['io.grpc', 'grpc-xds'],
  ['org.conscrypt', 'conscrypt-openjdk-uber'],
  ['net.bytebuddy', '*'],
]

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>rig</groupId><artifactId>pulsar-rig</artifactId><version>1</version><packaging>pom</packaging>
<dependencyManagement><dependencies>
<dependency><groupId>org.apache.pulsar</groupId><artifactId>pulsar</artifactId><version>${pulsarVersion}</version><type>pom</type><scope>import</scope></dependency>
</dependencies></dependencyManagement>
<dependencies>
<dependency><groupId>org.apache.pulsar</groupId><artifactId>pulsar-broker</artifactId><version>${pulsarVersion}</version><exclusions>
${unneeded.map(([group, name]) => `<exclusion><groupId>${group}</groupId><artifactId>${name}</artifactId></exclusion>`).join('\n')}
</exclusions></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j2-impl</artifactId></dependency>
</dependencies></project>
`

let found: Promise<string> | undefined

/** Resolves to the folder of the jars; rejects with what is missing on this machine. */
export function pulsarJars(): Promise<string> {
  found ??= mavenJars(`pulsar-${pulsarVersion}`, pom)
  return found
}

const opened = [
  'java.base/jdk.internal.loader',
  'java.base/java.lang',
  'java.base/java.io',
  'java.base/java.util.zip',
  'java.base/java.nio',
  'java.base/sun.net',
  'java.base/jdk.internal.misc',
  'java.management/sun.management',
  'jdk.management/com.sun.management.internal',
  'java.base/jdk.internal.platform',
]

/** The JVM's, of which a class archive wants the same collector each time. */
export const pulsarJava = [
  '-Xms128m',
  '-Xmx512m',
  '-XX:MaxDirectMemorySize=256m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Djava.awt.headless=true',
  '-Djava.net.preferIPv4Stack=true',
  '-Dio.netty.tryReflectionSetAccessible=true',
  '-Dio.netty.leakDetectionLevel=disabled',
  '-Dpulsar.allocator.exit_on_oom=true',
  ...opened.flatMap((part) => ['--add-opens', `${part}=ALL-UNNAMED`]),
]

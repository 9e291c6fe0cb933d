import { natsVersions } from '../../test/rig/nats-server.ts'
import { type Built, built } from '../built.ts'
import type { Section } from '../section.ts'
import { natsCases } from './cases.ts'
import { type NatsCase, NatsPlace } from './place.ts'

/** The bus on NATS beside the clients of that project, each in a process of its own. */
export function natsSection(scale: number): Section<NatsPlace, NatsCase> {
  let parts: Built | undefined
  return {
    about: `nats-server ${natsVersions[0]}, file storage, one server unless it says three; nats bench 0.5.1, nats.go 1.34.1, nats.js 3.4.0`,
    start: ({ replicas }) => NatsPlace.start((parts ??= built()), replicas),
    cases: natsCases(scale),
  }
}

import type { SharedTopic } from '../engines/nats/options.ts'
import { topic } from '../topic/definition.ts'

/** Coze Studio's three topics, and the group that reads each (backend/types/consts/consts.go). */
export const resourceTopic = 'opencoze_search_resource'
export const appTopic = 'opencoze_search_app'
export const knowledgeTopic = 'opencoze_knowledge'

export const groupOf: Readonly<Record<string, string>> = {
  [resourceTopic]: 'cg_search_resource',
  [appTopic]: 'cg_search_app',
  [knowledgeTopic]: 'cg_knowledge',
}

/** The subject families of Coze's guide to NATS. */
export const workflowEvents = topic('coze.workflow.{workflowId}.{event}')
export const agentEvents = topic('coze.agent.{agentId}.{action}')
export const knowledgeEvents = topic('coze.knowledge.{knowledgeId}.{operation}')
export const families = [workflowEvents, agentEvents, knowledgeEvents] as const

/** How long a member of a group may be silent: a Go service never extends, and its jobs take minutes. */
export const leaseMs = 5 * 60_000

/**
 * How streams and consumers that Go services share are made here, so that the Go side loses less: it numbers messages by
 * their key, and only the shortest window lets two sends with one key be two messages; it makes streams that drop what is
 * older than a day or beyond a million, and consumers that take a job away after 30 s.
 */
export function sharedTopic(name: string, groups: readonly string[]): SharedTopic | undefined {
  // Families have streams of the bus's own, and so have replays.
  if (name.includes('*') || name.startsWith('_')) return undefined
  const own = groupOf[name]
  return {
    dedupeWindowMs: 100,
    maxAgeMs: 7 * 24 * 3600_000,
    ackWaitMs: leaseMs,
    groups: own === undefined ? groups : [...new Set([own, ...groups])],
  }
}

// Coze Studio's bus: the same names on the wire, the same variables, and none of its losses.

export { cozeCodec } from './codec.ts'
export { Consumer, type ConsumerOptions, type CozeHandler, type CozeMessage, registerConsumer } from './consumer.ts'
// Configuration
export {
  type CozeConfig,
  type CozeEnv,
  configFromEnv,
  type KafkaConfig,
  type NatsConfig,
  type NsqConfig,
  type PulsarConfig,
  type RmqConfig,
} from './environment.ts'
// The three topics of Coze Studio
export {
  type ChunkingStrategy,
  type DocumentReview,
  type KnowledgeDocument,
  type KnowledgeEvent,
  type KnowledgeEventType,
  type KnowledgeInfo,
  type KnowledgeSlice,
  knowledgeEvent,
  knowledgeJobs,
  type ParsingStrategy,
  type SliceContent,
  type TableCell,
  type TableColumn,
  type TableInfo,
} from './knowledge-events.ts'
// The subject families of the guide
export { agentEvents, appTopic, groupOf, knowledgeEvents, knowledgeTopic, resourceTopic, workflowEvents } from './names.ts'
export { BatchSendError, createProducer, Producer, type SendBody, type SendOptions } from './producer.ts'
export {
  type AppDocument,
  type AppEvent,
  appEvents,
  type EventMeta,
  type ResourceDocument,
  type ResourceEvent,
  resourceEvents,
  type SearchOperation,
} from './search-events.ts'

import { BusError } from '../errors.ts'
import type { Address, AnyDefinition, Selection } from './definition.ts'
import { checkName, checkPattern } from './name.ts'
import { isPattern } from './pattern.ts'

/** Anything that names where to publish. */
export type PublishTopic = string | Address<any, any, any> | AnyDefinition
/** Anything that names what to read. */
export type ReadTopic = string | Selection<any, any> | Address<any, any, any> | AnyDefinition

export interface Target {
  readonly name: string
  readonly storage: string
  readonly definition: AnyDefinition | undefined
}

export interface Choice {
  /** The one storage, or undefined for a pattern over whatever storages there are. */
  readonly storage: string | undefined
  readonly filter: string | undefined
  readonly definition: AnyDefinition | undefined
  /** What the caller wrote, for messages. */
  readonly label: string
}

function mustName(topic: object): void {
  if (typeof topic !== 'object' || topic === null)
    throw new BusError('invalid_topic', `a topic is a name or a definition, not ${topic === null ? 'null' : typeof topic}`)
}

// Publishing to the same few undeclared names again and again must not check and allocate each time.
const checked = new Map<string, Target>()
const maxChecked = 10_000

/** Where a publish goes. @throws BusError `invalid_topic` */
export function resolveTarget(topic: PublishTopic): Target {
  if (typeof topic === 'string') {
    const known = checked.get(topic)
    if (known) return known
    checkName(topic)
    const target: Target = { name: topic, storage: topic, definition: undefined }
    if (checked.size >= maxChecked) checked.clear()
    checked.set(topic, target)
    return target
  }
  mustName(topic)
  if ('template' in topic) {
    if (topic.parameters.length > 0)
      throw new BusError('invalid_topic', `topic '${topic.template}' has parameters; publish to .with({ ${topic.parameters.join(', ')} })`)
    return { name: topic.storage, storage: topic.storage, definition: topic }
  }
  return { name: topic.name, storage: topic.definition.storage, definition: topic.definition }
}

/** What a subscription or an admin call reads. @throws BusError `invalid_topic` */
export function resolveChoice(topic: ReadTopic): Choice {
  if (typeof topic === 'string') {
    checkPattern(topic)
    return isPattern(topic)
      ? { storage: undefined, filter: topic, definition: undefined, label: topic }
      : { storage: topic, filter: undefined, definition: undefined, label: topic }
  }
  mustName(topic)
  if ('template' in topic) return { storage: topic.storage, filter: undefined, definition: topic, label: topic.template }
  const filter = 'name' in topic ? topic.name : topic.filter
  return {
    storage: topic.definition.storage,
    filter: filter === topic.definition.storage ? undefined : filter,
    definition: topic.definition,
    label: filter ?? topic.definition.template,
  }
}

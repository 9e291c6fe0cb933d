import { bytesCodec } from '../message/codec.ts'
import { type Address, type AnyDefinition, type Selection, topic } from '../topic/definition.ts'
import { families } from './names.ts'

const rawFamilies = families.map(({ template }) => topic(template, { codec: bytesCodec }) as AnyDefinition)
const raw = new Map<string, AnyDefinition>()

/** A topic whose bodies are bytes, as Coze's bus carries them. @throws BusError `invalid_topic` */
export function rawTopic(name: string): AnyDefinition | Address {
  const family = rawFamilies.find((definition) => definition.parse(name))
  if (family) return family.with(family.parse(name))
  let known = raw.get(name)
  if (!known) raw.set(name, (known = topic(name, { codec: bytesCodec })))
  return known
}

/** What a consumer reads: a topic, one subject of a family, or with its template or pattern all of it. */
export function rawChoice(name: string): AnyDefinition | Selection {
  const whole = rawFamilies.find(({ template, storage }) => name === template || name === storage)
  if (whole) return whole
  const found = rawTopic(name)
  return 'template' in found ? found : found.definition.where(found.definition.parse(name))
}

export function storageOf(choice: AnyDefinition | Selection): string {
  return 'template' in choice ? choice.storage : choice.definition.storage
}

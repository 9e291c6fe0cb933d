import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Retention } from '../engines/engine.ts'
import { BusError } from '../errors.ts'
import { type Codec, jsonCodec } from '../message/codec.ts'
import { type Duration, toMs } from '../message/duration.ts'
import { checkName, checkPattern } from './name.ts'
import { matcher } from './pattern.ts'

/** The parameters of a template, inferred: `docs.{space}.{event}` gives `{ space: string; event: string }`. */
export type Params<Template extends string> = Template extends `${string}{${infer Name}}${infer Rest}`
  ? { [K in Name | keyof Params<Rest>]: string }
  : string extends Template
    ? Record<string, string>
    : {}

export interface TopicOptions<Schema extends StandardSchemaV1 | undefined = undefined> {
  /** Any Standard Schema: publish validates by it and sends what it was given; a handler gets its output. */
  readonly schema?: Schema
  /** What order is kept by, computed from the schema's output. */
  readonly key?: (body: OutputOf<Schema>) => string | undefined
  /** Default: JSON. */
  readonly codec?: Codec
  /** False: handed to whoever listens and stored nowhere, where the engine can (NATS). Default true. */
  readonly persist?: boolean
  /** How much is kept of what every group has settled. Default: the engine's own. */
  readonly retention?: { readonly age?: Duration; readonly messages?: number; readonly bytes?: number }
}

export type InputOf<Schema> = Schema extends StandardSchemaV1 ? StandardSchemaV1.InferInput<Schema> : unknown
export type OutputOf<Schema> = Schema extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<Schema> : any

/** Where to publish: one exact name of a definition. */
export interface Address<In = unknown, P = any, Out = any> {
  readonly definition: AnyDefinition
  readonly name: string
  /** Types only. */
  readonly '~in'?: In
  readonly '~params'?: P
  readonly '~out'?: Out
}

/** What to read: the names of a definition, narrowed by some parameters. */
export interface Selection<P = Record<string, string>, Out = any> {
  readonly definition: AnyDefinition
  /** A pattern over full names; undefined = everything of the definition. */
  readonly filter: string | undefined
  /** Types only. */
  readonly '~params'?: P
  readonly '~out'?: Out
}

export interface TopicDefinition<P, In, Out> {
  readonly template: string
  /** The template with `*` for each parameter: the unit of storage. */
  readonly storage: string
  readonly parameters: readonly string[]
  readonly schema: StandardSchemaV1 | undefined
  readonly key: ((body: any) => string | undefined) | undefined
  readonly codec: Codec
  readonly persist: boolean
  readonly retention: Retention | undefined
  /** The address that these parameters give. @throws BusError `invalid_topic` for a value that is no token */
  with(params: P): Address<In, P, Out>
  /** The selection that these parameters give; those left out stand for all. */
  where(params: Partial<P>): Selection<P, Out>
  /** The parameters that a name gives, or undefined for a name that is not of this definition. */
  parse(name: string): P | undefined
}

export type AnyDefinition = TopicDefinition<any, any, any>

const parameter = /^\{([A-Za-z_][A-Za-z0-9_]*)\}$/

/**
 * Defines a topic: a dotted name whose tokens may be parameters, `coze.workflow.{workflowId}.{event}`.
 * A definition is one storage on every engine; a definition without parameters is used as it is.
 * @throws BusError `invalid_topic`
 */
export function topic<const Template extends string, Schema extends StandardSchemaV1 | undefined = undefined>(
  template: Template,
  options: TopicOptions<Schema> = {},
): TopicDefinition<Params<Template>, InputOf<Schema>, OutputOf<Schema>> {
  const tokens = template.split('.')
  const places = new Map<string, number>()
  const stored = tokens.map((token, i) => {
    const name = parameter.exec(token)?.[1]
    if (name === undefined) return token
    if (places.has(name)) throw new BusError('invalid_topic', `topic '${template}': the parameter {${name}} stands twice`)
    places.set(name, i)
    return '*'
  })
  const storage = stored.join('.')
  checkName(stored.map((token, i) => (token === '*' && parameter.test(tokens[i]!) ? 'p' : token)).join('.'))
  const matches = matcher(storage)
  const parameters = [...places.keys()]

  const fill = (params: Record<string, unknown>, wild: boolean): string => {
    const out = [...stored]
    for (const name in params) {
      const place = places.get(name)
      if (place === undefined)
        throw new BusError(
          'invalid_topic',
          `topic '${template}' has no parameter {${name}}${parameters.length ? `; it has ${parameters.map((p) => `{${p}}`).join(', ')}` : ''}`,
        )
      const value = params[name]
      if (value === undefined && wild) continue
      if (typeof value !== 'string' || value.includes('.') || value.includes('*') || value.includes('>'))
        throw new BusError(
          'invalid_topic',
          `topic '${template}': {${name}} must be a text without dots and wildcards, not ${JSON.stringify(value)}`,
        )
      out[place] = value
    }
    return out.join('.')
  }

  const { retention } = options
  const definition: AnyDefinition = {
    template,
    storage,
    parameters,
    schema: options.schema,
    key: options.key,
    codec: options.codec ?? jsonCodec,
    persist: options.persist ?? true,
    retention: retention && {
      ageMs: retention.age === undefined ? undefined : toMs(retention.age, 'retention.age'),
      messages: retention.messages,
      bytes: retention.bytes,
    },
    with(params) {
      const name = fill(params, false)
      if (name.includes('*'))
        throw new BusError(
          'invalid_topic',
          `topic '${template}': a value is needed for each of ${parameters.map((p) => `{${p}}`).join(', ')}`,
        )
      checkName(name)
      return { definition, name }
    },
    where(params) {
      const filter = fill(params, true)
      checkPattern(filter)
      return { definition, filter: filter === storage ? undefined : filter }
    },
    parse(name) {
      if (!matches(name)) return undefined
      const parts = name.split('.')
      const params: Record<string, string> = {}
      for (const [parameterName, place] of places) params[parameterName] = parts[place]!
      return params
    },
  }
  return definition
}

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { idFields } from './codec.ts'

/**
 * What an event must have for anybody to handle it, and ids as `bigint`: a number would reach Go as another id. Fields that
 * are not known pass, as Coze's own readers let them.
 */
export function eventSchema<Event>(required: Readonly<Record<string, 'string' | 'bigint'>>): StandardSchemaV1<Event, Event> {
  return {
    '~standard': {
      version: 1,
      vendor: 'cozebus',
      validate(value) {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return { issues: [{ message: 'an event is an object' }] }
        const issues: { message: string; path: PropertyKey[] }[] = []
        for (const [name, type] of Object.entries(required)) {
          const found = typeof (value as Record<string, unknown>)[name]
          if (found !== type) issues.push({ message: `must be ${type}, not ${found}`, path: [name] })
        }
        findNumbers(value, [], issues)
        return issues.length > 0 ? { issues } : { value: value as Event }
      },
    },
  }
}

function findNumbers(value: object, path: readonly PropertyKey[], issues: { message: string; path: PropertyKey[] }[]): void {
  for (const [name, inner] of Object.entries(value)) {
    const at = [...path, name]
    const id = idFields.has(name)
    if (id && typeof inner === 'number') issues.push({ message: 'an id is a bigint, like 7621099543744036864n', path: at })
    else if (id && Array.isArray(inner) && inner.some((one) => typeof one === 'number'))
      issues.push({ message: 'ids are bigints, like 7621099543744036864n', path: at })
    else if (typeof inner === 'object' && inner !== null && !ArrayBuffer.isView(inner)) findNumbers(inner, at, issues)
  }
}

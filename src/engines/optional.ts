import { BusError } from '../errors.ts'

/** A package that only some need: the module, or its default where it is CommonJS. `needer`: for whom. @throws BusError `engine_missing` */
export async function loadOptional<T>(needer: string, name: string, importing: () => Promise<unknown>, install: string): Promise<T> {
  try {
    const loaded = (await importing()) as { default?: T }
    return loaded.default ?? (loaded as T)
  } catch (error) {
    if (!['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes((error as { code?: string }).code ?? '')) throw error
    throw new BusError('engine_missing', `${needer} needs the package ${name}, which is not installed: ${install}`, { cause: error })
  }
}

/** Makes the objects of a new tunnel one after the other; what was made is known also after a failure and a reload. */

import type { components } from '../generated/api'
import registry from '../generated/registry.json'
import { ApiError, get, request } from './api.ts'
import { hasValues, type Ids, type Item, type Key } from './wizardPlan.ts'

export type DryRun = components['schemas']['DryRun']

/** An object that this wizard has made. `print`: the request that made it, to see whether it still fits. */
export interface Made {
  key: Key
  resource: Item['resource']
  id: string
  name: string
  print: string
}

interface Created {
  [singular: string]: { id: string }
}

const pathOf = (resource: Item['resource']) => registry.resources[resource].path

class Run {
  made = $state.raw<Made[]>([])
  busy = $state(false)
  /** The object that is being made, or has failed. */
  at = $state<Key | null>(null)
  error = $state.raw<ApiError | null>(null)
  /** The object whose answer was lost: it may have been made. */
  #doubt: Key | null = null

  /** Goes on with what was made before. */
  restore(made: Made[]): void {
    this.made = made
    this.error = null
    this.at = null
  }

  /** Makes what lacks, and returns the id of the connection; null if something failed, or runs already. */
  async create(items: Item[]): Promise<string | null> {
    if (this.busy) return null
    this.busy = true
    this.error = null
    const ids: Ids = {}
    try {
      await this.#drop((made) => !items.some((item) => item.key === made.key && (item.id ? item.id === made.id : fits(made, item))))
      for (const item of items) {
        this.at = item.key
        ids[item.key] = item.id ?? this.made.find((made) => made.key === item.key)?.id ?? (await this.#make(item, ids))
      }
      this.at = null
      this.made = []
      return ids.connection ?? null
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.isAway) this.#doubt = this.at
      this.error = error
      return null
    } finally {
      this.busy = false
    }
  }

  async #make(item: Item, ids: Ids): Promise<string> {
    const body = item.body(ids)
    const id = (this.#doubt === item.key && (await found(item, body))) || (await post(item, body))
    this.#doubt = null
    const print = item.key === 'connection' ? '' : JSON.stringify(body)
    this.made = [...this.made, { key: item.key, resource: item.resource, id, name: item.name, print }]
    return id
  }

  /** Deletes what was made. */
  async remove(): Promise<void> {
    if (this.busy) return
    this.busy = true
    try {
      await this.#drop(() => true)
      this.error = null
      this.at = null
    } catch (error) {
      this.error = error as ApiError
    } finally {
      this.busy = false
    }
  }

  async #drop(which: (made: Made) => boolean): Promise<void> {
    for (const made of this.made.filter(which).reverse()) {
      try {
        await request('DELETE', `${pathOf(made.resource)}/${made.id}`)
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 404)) throw error
      }
      this.made = this.made.filter((other) => other.id !== made.id)
    }
  }
}

export const run = new Run()

function fits(made: Made, item: Item): boolean {
  return made.print === JSON.stringify(item.body({}))
}

async function post(item: Item, body: Record<string, unknown>): Promise<string> {
  const answer = await request<Created>('POST', pathOf(item.resource), { body: { [item.resource]: body } })
  return (answer[item.resource] as { id: string }).id
}

/** The id of an object with the values of a request, whose answer was lost. */
async function found(item: Item, body: Record<string, unknown>): Promise<string | undefined> {
  const { psk: _, ...values } = body
  const resource = registry.resources[item.resource]
  const answer = await get<Record<string, { id: string }[]>>(resource.path, { name: item.name })
  return answer[resource.plural]?.find((object) => hasValues(object, values))?.id
}

/** What would come of the objects that do not exist yet. `problems`: the API's refusals by object. */
export interface Foreseen {
  connections: DryRun['connections']
  weak: string[]
  problems: Partial<Record<Key, ApiError>>
}

/** Asks the API what would come of a plan. The connection can only be asked for once all else exists. */
export async function foresee(items: Item[], signal: AbortSignal): Promise<Foreseen> {
  const ids = Object.fromEntries(items.map((item) => [item.key, item.id])) as Ids
  const foreseen: Foreseen = { connections: [], weak: [], problems: {} }
  const others = items.filter((item) => item.key !== 'connection')
  const asked = items.filter((item) => !item.id && (item.key !== 'connection' || others.every((other) => other.id)))
  await Promise.all(
    asked.map(async (item) => {
      try {
        const options = { query: { dry_run: true }, body: { [item.resource]: item.body(ids) }, signal }
        const { dry_run } = await request<{ dry_run: DryRun }>('POST', pathOf(item.resource), options)
        if (item.key === 'connection') foreseen.connections = dry_run.connections
        foreseen.weak.push(...dry_run.weak_choices)
      } catch (error) {
        if (error instanceof ApiError && !error.isAway) foreseen.problems[item.key] = error
      }
    }),
  )
  return foreseen
}

/** The names of the objects that references can be to: read when a form needs them, and kept while the page is open. */

import { ApiError, listAll } from './api.ts'
import { session } from './session.svelte.ts'

/** An object that can be chosen. */
export interface Choice {
  id: string
  name?: string
  cidr?: string
  type?: string
  status?: string
  project_id?: string
}

/** Where the objects are: path and plural name. */
export type Where = { path: string; plural: string }

/** How an object is called: its name, or its id, with what tells it apart from others of that name. */
export function labelOf(choice: Choice): string {
  const name = choice.name || choice.cidr || choice.id
  return choice.cidr && choice.name ? `${name} (${choice.cidr})` : name
}

class References {
  #lists = $state<Record<string, Choice[]>>({})
  #busy = new Map<string, Promise<void>>()

  /** The objects of a kind that have been read, undefined before. `query`: filters of the list. */
  of(to: string, query: Record<string, string> = {}): Choice[] | undefined {
    return this.#lists[keyOf(to, query)]
  }

  /** The name of an object that has been read, else its id. */
  nameOf(to: string, id: string | null | undefined): string {
    if (!id) return ''
    const found = this.of(to)?.find((choice) => choice.id === id)
    return found ? labelOf(found) : id
  }

  /** Reads the objects of a kind, once; `again`: also if they have been read. Throws ApiError. */
  load(to: string, where: Where | undefined, query: Record<string, string> = {}, again = false): Promise<void> {
    const key = keyOf(to, query)
    if (!again && this.#lists[key]) return Promise.resolve()
    const busy = this.#busy.get(key)
    if (busy) return busy
    const reading = this.#read(to, where, query)
      .then((list) => {
        this.#lists[key] = list
      })
      .finally(() => this.#busy.delete(key))
    this.#busy.set(key, reading)
    return reading
  }

  /** Forgets what has been read of a kind, since it has changed. */
  forget(to: string): void {
    for (const key of Object.keys(this.#lists)) if (key.split('?')[0] === to) delete this.#lists[key]
  }

  async #read(to: string, where: Where | undefined, query: Record<string, string>): Promise<Choice[]> {
    if (to === 'project') return projects()
    if (!where) throw new ApiError(0, 'Unknown', `There is no list of ${to}`)
    const list = await listAll<Choice>(where.path, where.plural, query)
    return list.sort((a, b) => labelOf(a).localeCompare(labelOf(b)))
  }
}

/** Every project for an admin of the embedded identity, else those of the session. */
async function projects(): Promise<Choice[]> {
  if (session.current?.manages_users) return listAll<Choice>('identity/v3/projects', 'projects')
  return session.current?.projects ?? []
}

function keyOf(to: string, query: Record<string, string>): string {
  return `${to}?${new URLSearchParams(query)}`
}

export const references = new References()

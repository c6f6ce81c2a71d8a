/** The objects of one resource as a page shows them: read at once, and again while the page is open. */

import type { ApiError, Query } from './api.ts'
import { references } from './references.svelte.ts'
import { readAll, type Item } from './resources.ts'
import type { Resource } from './schema_form.ts'

/** Milliseconds after which the list is read again: there are no events about these objects. */
const AGAIN = 30_000

export class Objects {
  list = $state.raw<Item[]>([])
  error = $state<ApiError | null>(null)
  /** When the list was read, in milliseconds since 1970; 0 before. */
  at = $state(0)
  readonly resource: Resource
  #query: Query

  constructor(resource: Resource, query: Query = {}) {
    this.resource = resource
    this.#query = query
  }

  async load(): Promise<void> {
    try {
      this.list = await readAll(this.resource, this.#query)
      this.at = Date.now()
      this.error = null
    } catch (error) {
      this.error = error as ApiError
    }
  }

  /** Reads the list again after a change of one's own. */
  async changed(): Promise<void> {
    references.forget(this.resource.singular)
    await this.load()
  }

  /** Reads now and from time to time, until the function that it returns is called. */
  follow(): () => void {
    void this.load()
    const timer = setInterval(() => {
      if (!document.hidden) void this.load()
    }, AGAIN)
    return () => clearInterval(timer)
  }
}

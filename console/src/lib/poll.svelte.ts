/** Answers of the API that are read again and again while a page shows them. */

import { ApiError } from './api.ts'

export class Poll<T> {
  value = $state.raw<T | null>(null)
  error = $state<ApiError | null>(null)
  /** When it was read last, in milliseconds since 1970. */
  at = $state(0)
  /** How long the last answer took, in milliseconds. */
  took = $state(0)
  #read: () => Promise<T>
  #busy = false

  /** `read`: asks the API; `every`: milliseconds between two questions. It ends with the component. */
  constructor(read: () => Promise<T>, every: number) {
    this.#read = read
    $effect(() => {
      void this.refresh()
      const timer = setInterval(() => {
        if (!document.hidden) void this.refresh()
      }, every)
      return () => clearInterval(timer)
    })
  }

  async refresh(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    const begin = performance.now()
    try {
      this.value = await this.#read()
      this.error = null
      this.at = Date.now()
      this.took = performance.now() - begin
    } catch (error) {
      this.error = error as ApiError
    } finally {
      this.#busy = false
    }
  }
}

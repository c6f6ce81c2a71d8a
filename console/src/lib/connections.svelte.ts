/** All connections that the user may see: read once, and again where a hint says that one has changed. */

import { ApiError, get, listAll } from './api.ts'
import type { components } from '../generated/api'
import { live } from './live.svelte.ts'

export type Connection = Required<components['schemas']['Connection']>

const PATH = 'v2.0/vpn/ipsec-site-connections'
const PLURAL = 'ipsec_site_connections'
/** Milliseconds for which changes are gathered. */
const GATHER = 500
/** Changed connections above which the whole list is read. */
const FEW = 40
/** Milliseconds after which everything is read again: what ends a lease is no event. */
const WHOLE = 30_000

class Connections {
  #byId = $state.raw(new Map<string, Connection>())
  loading = $state(false)
  error = $state<ApiError | null>(null)
  /** When the list was last in step with the API, in milliseconds since 1970. */
  at = $state(0)
  list = $derived([...this.#byId.values()])
  #changed = new Set<string>()
  #busy = false
  #started = false

  byId(id: string): Connection | undefined {
    return this.#byId.get(id)
  }

  /** Reads the list, and follows it from then on. */
  start(): void {
    if (this.#started) return
    this.#started = true
    void this.reload()
    live.subscribe((event) => this.touch(event.connection_id))
    setInterval(() => void this.#flush(), GATHER)
    setInterval(() => {
      if (!document.hidden) void this.reload()
    }, WHOLE)
  }

  /** Says that a connection may have changed. */
  touch(id: string): void {
    this.#changed.add(id)
  }

  async reload(): Promise<void> {
    if (this.#busy) return
    this.#busy = this.loading = true
    this.#changed.clear()
    try {
      const all = await listAll<Connection>(PATH, PLURAL)
      this.#byId = new Map(all.map((item) => [item.id, item]))
      this.#done()
    } catch (error) {
      this.error = error as ApiError
    } finally {
      this.#busy = this.loading = false
    }
  }

  async #flush(): Promise<void> {
    if (this.#busy || this.#changed.size === 0 || document.hidden) return
    if (this.#changed.size > FEW) return this.reload()
    const ids = [...this.#changed]
    this.#changed.clear()
    this.#busy = true
    try {
      const answer = await get<Record<string, Connection[]>>(PATH, { id: ids })
      const next = new Map(this.#byId)
      for (const id of ids) next.delete(id)
      for (const item of answer[PLURAL] ?? []) next.set(item.id, item)
      this.#byId = next
      this.#done()
    } catch (error) {
      for (const id of ids) this.#changed.add(id)
      this.error = error as ApiError
    } finally {
      this.#busy = false
    }
  }

  #done(): void {
    this.at = Date.now()
    this.error = null
  }
}

export const connections = new Connections()

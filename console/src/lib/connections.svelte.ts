/** All connections that the user may see: read once, and again where a hint says that one has changed. */

import { ApiError, get, listAll } from './api.ts'
import type { components } from '../generated/api'
import { live } from './live.svelte.ts'

export type Connection = Required<components['schemas']['Connection']>

const PATH = 'v2.0/vpn/ipsec-site-connections'
const PLURAL = 'ipsec_site_connections'
/** Milliseconds for which changes are gathered, at least. A slow API is asked as much less often. */
const GATHER = 500
/** Share of the time in which the changes of a storm are read, at most. */
const SHARE = 1 / 4
/** Connections in one request: their ids have to fit into a URL. */
const CHUNK = 80
/** Changed connections above which the whole list is read. */
const FEW = 240
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
  /** No changes are read before, in milliseconds since 1970. */
  #next = 0
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
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && Date.now() - this.at > WHOLE) void this.reload()
    })
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
    const begin = Date.now()
    try {
      const all = await listAll<Connection>(PATH, PLURAL)
      this.#byId = new Map(all.map((item) => [item.id, item]))
      this.#done()
    } catch (error) {
      this.error = error as ApiError
    } finally {
      this.#busy = this.loading = false
      this.#pause(begin)
    }
  }

  async #flush(): Promise<void> {
    if (this.#busy || this.#changed.size === 0 || document.hidden || Date.now() < this.#next) return
    if (this.#changed.size > FEW) return this.reload()
    const begin = Date.now()
    const ids = [...this.#changed]
    this.#changed.clear()
    this.#busy = true
    try {
      const next = new Map(this.#byId)
      for (let at = 0; at < ids.length; at += CHUNK) {
        const chunk = ids.slice(at, at + CHUNK)
        const answer = await get<Record<string, Connection[]>>(PATH, { id: chunk })
        const found = new Map((answer[PLURAL] ?? []).map((item) => [item.id, item]))
        for (const id of chunk) {
          const item = found.get(id)
          if (item) next.set(id, item)
          else next.delete(id)
        }
      }
      this.#byId = next
      this.#done()
    } catch (error) {
      for (const id of ids) this.#changed.add(id)
      this.error = error as ApiError
    } finally {
      this.#busy = false
      this.#pause(begin)
    }
  }

  #pause(begin: number): void {
    const now = Date.now()
    this.#next = now + Math.min((now - begin) / SHARE, WHOLE)
  }

  #done(): void {
    this.at = Date.now()
    this.error = null
  }
}

export const connections = new Connections()

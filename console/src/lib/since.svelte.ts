/** Since when connections are up or down, as their newest events tell. */

import { get } from './api.ts'
import type { Event } from './events.ts'
import { timeOf } from './format.ts'
import { live } from './live.svelte.ts'
import type { State } from './state.ts'

const PATH = 'v2.0/linkspan/events'
/** Events that are read at the start, in pages. */
const PAGES = 3
/** Milliseconds for which live events are gathered. */
const GATHER = 1_000

class Since {
  /** Grows when something has changed. */
  #version = $state(0)
  #up = new Map<string, number>()
  #down = new Map<string, number>()
  #dirty = false
  #started = false

  /** Reads the newest events, and follows them from then on. Without them no time is known. */
  async start(): Promise<void> {
    if (this.#started) return
    this.#started = true
    live.subscribe((event) => {
      this.#take(event.connection_id, event.kind, timeOf(event.at))
      this.#dirty = true
    })
    setInterval(() => {
      if (this.#dirty && !document.hidden) this.#version += 1
      this.#dirty = false
    }, GATHER)
    let marker: string | undefined
    for (let page = 0; page < PAGES; page++) {
      const answer = await get<{ events: Event[]; events_links?: unknown[] }>(PATH, { kind: ['up', 'down'], marker }).catch(() => null)
      for (const event of answer?.events ?? []) this.#take(event.connection_id, event.kind, timeOf(event.at))
      this.#version += 1
      marker = answer?.events.at(-1)?.id
      if (!marker || !answer?.events_links) return
    }
  }

  #take(id: string, kind: string, at: number): void {
    const times = kind === 'up' ? this.#up : kind === 'down' ? this.#down : null
    if (times && at > (times.get(id) ?? 0)) times.set(id, at)
  }

  /** When a connection came into its state, in milliseconds since 1970; null if no event tells. */
  of(id: string, state: State): number | null {
    void this.#version
    const up = this.#up.get(id)
    const down = this.#down.get(id)
    if (state === 'up' || state === 'degraded') return up ?? null
    if (state === 'disabled' || down === undefined || (up !== undefined && up > down)) return null
    return down
  }
}

export const since = new Since()

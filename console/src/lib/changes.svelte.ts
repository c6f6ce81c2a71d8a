/** Events as the page of changes shows them: in pages, by a filter, and what is new at once. */

import { ApiError, type Query, get } from './api.ts'
import type { Event, EventKind } from './events.ts'
import { type TimelineEvent, live } from './live.svelte.ts'

const PATH = 'v2.0/linkspan/events'
const PAGE = 100
/** Events that are kept on the screen when new ones come. */
const MOST = 500
/** Milliseconds for which new events are gathered. */
const GATHER = 500

export interface EventFilter {
  kinds: readonly EventKind[]
  connection: string
  /** ISO 8601; empty: no limit. */
  since: string
  until: string
}

/** True if an event that comes live belongs to a filter. */
export function belongs(event: Pick<TimelineEvent, 'kind' | 'connection_id'>, filter: EventFilter): boolean {
  if (filter.until) return false
  if (filter.connection && event.connection_id !== filter.connection) return false
  return filter.kinds.length === 0 || (filter.kinds as readonly string[]).includes(event.kind)
}

export class Changes {
  events = $state.raw<Event[]>([])
  error = $state<ApiError | null>(null)
  loading = $state(false)
  more = $state(false)
  #filter: EventFilter
  #fresh: Event[] = []
  #stop = new AbortController()

  constructor(filter: EventFilter) {
    this.#filter = filter
    void this.older()
  }

  /** Follows what is new, until the function that it returns is called. */
  follow(): () => void {
    const stop = live.subscribe((event) => {
      if (belongs(event, this.#filter)) this.#fresh.push(event as unknown as Event)
    })
    const timer = setInterval(() => this.#show(), GATHER)
    return () => {
      stop()
      clearInterval(timer)
      this.#stop.abort()
    }
  }

  #show(): void {
    if (this.#fresh.length === 0 || this.loading) return
    const known = new Set(this.events.map((event) => event.id))
    const fresh = this.#fresh.filter((event) => !known.has(event.id)).reverse()
    this.#fresh = []
    const all = [...fresh, ...this.events]
    this.more ||= all.length > MOST
    // While somebody reads older pages, they stay.
    this.events = all.slice(0, Math.max(MOST, this.events.length))
  }

  /** Reads the next page. */
  async older(): Promise<void> {
    if (this.loading) return
    this.loading = true
    const { kinds, connection, since, until } = this.#filter
    const query: Query = { limit: PAGE, kind: kinds, marker: this.events.at(-1)?.id }
    if (connection) query.connection_id = connection
    if (since) query.since = since
    if (until) query.until = until
    try {
      const answer = await get<{ events: Event[]; events_links?: unknown[] }>(PATH, query, this.#stop.signal)
      this.events = [...this.events, ...answer.events]
      this.more = answer.events_links !== undefined
      this.error = null
    } catch (error) {
      if (!this.#stop.signal.aborted) this.error = error as ApiError
    } finally {
      this.loading = false
    }
  }
}

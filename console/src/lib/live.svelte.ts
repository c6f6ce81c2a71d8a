/**
 * Hints of what has changed, as the API's stream of events has them (server-sent events). One tab of a browser reads the
 * stream and tells the others, since a browser has few connections to one origin.
 */

import { HEADERS, failure, urlOf } from './api.ts'
import { parseEvents } from './sse.ts'

/** An event of the timeline; see docs/timeline.md. */
export interface TimelineEvent {
  id: string
  kind: string
  at: string
  recorded_at: string
  connection_id: string
  connection_name: string
  project_id: string
  node: string
  status_code: string
  reason: string
  revision: { number: string; user_name: string; fields: string[]; action: string } | null
  [key: string]: unknown
}

type Message = { kind: 'event'; event: TimelineEvent } | { kind: 'heard' } | { kind: 'away' }

/** Seconds without a word after which the screen counts as stale: the API says something every 10 s. */
export const STALE = 25_000
const PAUSES = [1_000, 2_000, 5_000, 10_000]

class Live {
  /** When something was last heard from the API, in milliseconds since 1970. */
  heard = $state(0)
  state = $state<'connecting' | 'live' | 'away'>('connecting')
  #listeners = new Set<(event: TimelineEvent) => void>()
  #stop: AbortController | null = null
  #last = ''
  #channel: BroadcastChannel | null = null

  /** Begins to listen. */
  start(): void {
    if (this.#stop) return
    this.#stop = new AbortController()
    this.#channel = new BroadcastChannel('linkspan-live')
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#take(data)
    const signal = this.#stop.signal
    // The lock belongs to one tab; when that is closed, another one gets it.
    const lead = () => this.#read(signal)
    if (navigator.locks) void navigator.locks.request('linkspan-live', { signal }, lead).catch(() => {})
    else void lead()
  }

  stop(): void {
    this.#stop?.abort()
    this.#channel?.close()
    this.#stop = null
    this.#last = ''
    this.state = 'connecting'
  }

  /** Calls a function for each event, until the function that it returns is called. */
  subscribe(listener: (event: TimelineEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tell(message: Message): void {
    this.#channel?.postMessage(message)
    this.#take(message)
  }

  #take(message: Message): void {
    if (message.kind === 'away') {
      this.state = 'away'
      return
    }
    this.state = 'live'
    this.heard = Date.now()
    if (message.kind === 'event') for (const listener of this.#listeners) listener(message.event)
  }

  async #read(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#stream(signal)
        failures = 0
      } catch {
        if (signal.aborted) return
        this.#tell({ kind: 'away' })
        await pause(PAUSES[Math.min(failures++, PAUSES.length - 1)] ?? 10_000, signal)
      }
    }
  }

  async #stream(signal: AbortSignal): Promise<void> {
    const headers: Record<string, string> = { ...HEADERS, Accept: 'text/event-stream' }
    if (this.#last) headers['Last-Event-ID'] = this.#last
    const response = await fetch(urlOf('v2.0/linkspan/events'), { headers, signal, credentials: 'same-origin' })
    if (!response.ok || !response.body) throw await failure(response)
    for await (const item of parseEvents(response.body)) {
      if (item.id) this.#last = item.id
      this.#tell(item.data ? { kind: 'event', event: JSON.parse(item.data) } : { kind: 'heard' })
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })
}

export const live = new Live()

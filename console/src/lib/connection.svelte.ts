/** One connection with its diagnosis, followed while its page is open. */

import { ApiError, get } from './api.ts'
import type { Connection } from './connections.svelte.ts'
import type { operations } from '../generated/api'
import { timeOf } from './format.ts'
import { live, type TimelineEvent } from './live.svelte.ts'

export type Diagnosis = operations['diagnose_connection']['responses'][200]['content']['application/json']['diagnosis']

/** Milliseconds between two looks: counters and timers are no events. */
const INTERVAL = 5_000
/** Milliseconds for which hints are gathered. */
const GATHER = 200

/** The path of a connection, or of an operation on it such as `diagnosis`. */
export const pathOf = (id: string, operation = '') =>
  `v2.0/vpn/ipsec-site-connections/${encodeURIComponent(id)}${operation && `/${operation}`}`

export class ConnectionWatch {
  readonly id: string
  connection = $state.raw<Connection | null>(null)
  diagnosis = $state.raw<Diagnosis | null>(null)
  /** When it last came up or went down, in milliseconds since 1970; null if it never did. */
  turned = $state<number | null>(null)
  /** True if there is no such connection, or none any more. */
  gone = $state(false)
  error = $state<ApiError | null>(null)
  /** When it was last read, in milliseconds since 1970. */
  at = $state(0)
  #reading: Promise<void> | null = null
  #again = false
  #turnedAgain = true
  #hint: ReturnType<typeof setTimeout> | undefined

  constructor(id: string) {
    this.id = id
  }

  /** Follows the connection, until the function that it returns is called. */
  watch(): () => void {
    void this.refresh()
    const ignore = live.subscribe((event) => this.#hear(event))
    const look = () => {
      if (!document.hidden) void this.refresh()
    }
    const timer = setInterval(look, INTERVAL)
    document.addEventListener('visibilitychange', look)
    return () => {
      ignore()
      clearInterval(timer)
      clearTimeout(this.#hint)
      document.removeEventListener('visibilitychange', look)
    }
  }

  /** Reads it, and returns when that is done. Where it is being read already, it is read once more afterwards. */
  refresh(): Promise<void> {
    this.#again = true
    this.#reading ??= this.#readAgain().finally(() => (this.#reading = null))
    return this.#reading
  }

  async #readAgain(): Promise<void> {
    while (this.#again) {
      this.#again = false
      await this.#read()
    }
  }

  #hear(event: TimelineEvent): void {
    if (event.connection_id !== this.id) return
    if (event.kind === 'up' || event.kind === 'down') this.#turnedAgain = true
    clearTimeout(this.#hint)
    this.#hint = setTimeout(() => void this.refresh(), GATHER)
  }

  async #read(): Promise<void> {
    try {
      const reads = [
        get<{ ipsec_site_connection: Connection }>(pathOf(this.id)),
        get<{ diagnosis: Diagnosis }>(pathOf(this.id, 'diagnosis')),
      ] as const
      // The object itself is there long before the node has answered.
      reads[1].catch(() => {})
      const connection = (await reads[0]).ipsec_site_connection
      // What depends on it is worked out anew only where something has changed.
      if (JSON.stringify(connection) !== JSON.stringify(this.connection)) this.connection = connection
      this.diagnosis = (await reads[1]).diagnosis
      if (this.#turnedAgain) await this.#readTurn()
      this.gone = false
      this.error = null
      this.at = Date.now()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.gone = error.status === 404
      this.error = this.gone ? null : error
    }
  }

  async #readTurn(): Promise<void> {
    const answer = await get<{ events: TimelineEvent[] }>(pathOf(this.id, 'events'), { kind: ['up', 'down'], limit: 1 })
    const [newest] = answer.events
    this.turned = newest ? timeOf(newest.at) : null
    this.#turnedAgain = false
  }
}

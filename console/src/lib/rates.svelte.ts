/** What connections on the screen carry, in bits per second, as their nodes tell. */

import { ApiError, get } from './api.ts'

export interface Rate {
  in: number
  out: number
}

/** A connection in the answer; nulls: no sample, `fault` says why. */
interface Newest {
  connection_id: string
  seconds: number | null
  in_bytes: number | null
  out_bytes: number | null
}

const PATH = 'v2.0/linkspan/traffic'
/** Milliseconds between two questions: as often as agents take samples. */
const EVERY = 10_000
/** Milliseconds before new rows are asked for, as somebody scrolls. */
const SOON = 400
/** Connections in one question. */
const MOST = 100

/** The rate of a sample; null for a gap. */
export function rateOf(sample: Newest): Rate | null {
  const { seconds, in_bytes, out_bytes } = sample
  if (!seconds || in_bytes === null || out_bytes === null) return null
  return { in: (8 * in_bytes) / seconds, out: (8 * out_bytes) / seconds }
}

class Rates {
  /** False until an answer has come: an older API has no traffic. */
  available = $state(false)
  #rates = $state.raw(new Map<string, Rate>())
  #ids: readonly string[] = []
  #absent = false
  #busy = false
  #soon: ReturnType<typeof setTimeout> | undefined
  #timer: ReturnType<typeof setInterval> | undefined

  /** Reads the rates of these connections from then on, and of no other ones. */
  follow(ids: readonly string[]): void {
    if (this.#absent) return
    const before = new Set(this.#ids)
    this.#ids = ids.slice(0, MOST)
    if (ids.length === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    this.#timer ??= setInterval(() => void this.#read(), EVERY)
    if (this.#soon === undefined && this.#ids.some((id) => !before.has(id))) {
      this.#soon = setTimeout(() => ((this.#soon = undefined), void this.#read()), SOON)
    }
  }

  of(id: string): Rate | undefined {
    return this.#rates.get(id)
  }

  async #read(): Promise<void> {
    if (this.#busy || this.#absent || document.hidden || this.#ids.length === 0) return
    this.#busy = true
    try {
      const { traffic } = await get<{ traffic: Newest[] }>(PATH, { connection_id: this.#ids })
      const found = traffic.map((sample) => [sample.connection_id, rateOf(sample)] as const)
      this.#rates = new Map(found.filter((item): item is [string, Rate] => item[1] !== null))
      this.available = true
    } catch (error) {
      this.#rates = new Map()
      this.#absent = (error as ApiError).status === 404
      if (this.#absent) clearInterval(this.#timer)
    } finally {
      this.#busy = false
    }
  }
}

export const rates = new Rates()

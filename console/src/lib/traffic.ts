/** The traffic of a connection, as its node has it: samples of about ten seconds. */

import type { operations } from '../generated/api'

/** The answer: arrays of one length, the oldest sample first; null: a gap. */
export type Traffic = operations['connection_traffic']['responses'][200]['content']['application/json']['traffic']

const COLUMNS = ['at', 'seconds', 'in_bytes', 'out_bytes', 'in_packets', 'out_packets', 'rtt_ms'] as const

/** Seconds that are shown. */
export const SHOWN = 3600

/** Samples that are there with those that are new, without those that are too old. */
export function merged(before: Traffic | null, added: Traffic): Traffic {
  if (!before) return added
  const last = before.at.at(-1) ?? 0
  const fresh = added.at.findIndex((at) => at > last)
  const from = before.at.findIndex((at) => at > (added.at.at(-1) ?? last) - SHOWN)
  const columns = COLUMNS.map((name) => {
    const kept = from < 0 ? [] : before[name].slice(from)
    return [name, [...kept, ...(fresh < 0 ? [] : added[name].slice(fresh))]]
  })
  return { ...added, ...Object.fromEntries(columns) } as Traffic
}

/** Bits per second of each sample. */
export function rates(bytes: readonly (number | null)[], seconds: readonly number[]): (number | null)[] {
  return bytes.map((count, index) => {
    const length = seconds[index] ?? 0
    return count === null || length <= 0 ? null : (count * 8) / length
  })
}

export interface Minute {
  /** Its begin, in milliseconds since 1970. */
  at: number
  in_rate: number | null
  out_rate: number | null
  rtt_ms: number | null
}

const mean = (values: readonly (number | null)[]) => {
  const known = values.filter((value) => value !== null)
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null
}

/** The means of each minute, the newest one first. */
export function minutes(traffic: Traffic): Minute[] {
  const groups = new Map<number, number[]>()
  traffic.at.forEach((at, index) => {
    const minute = Math.floor(at / 60) * 60_000
    groups.set(minute, [...(groups.get(minute) ?? []), index])
  })
  const [incoming, outgoing] = [rates(traffic.in_bytes, traffic.seconds), rates(traffic.out_bytes, traffic.seconds)]
  const of = (values: readonly (number | null)[], group: number[]) => mean(group.map((index) => values[index] ?? null))
  return [...groups]
    .map(([at, group]) => ({ at, in_rate: of(incoming, group), out_rate: of(outgoing, group), rtt_ms: of(traffic.rtt_ms, group) }))
    .sort((a, b) => b.at - a.at)
}

/** Periods of time in a URL: `1h`, `24h`, `7d`, or a time. Pure. */

const UNITS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

/** The begin of a period as ISO 8601; empty for text that is none. */
export function sinceOf(text: string, now: number): string {
  const match = /^(\d{1,5})([mhd])$/.exec(text)
  if (match) return new Date(now - Number(match[1]) * (UNITS[match[2] as string] as number)).toISOString()
  return timeIn(text)
}

/** A time of the reader's own zone, as `<input type=datetime-local>` has it, as ISO 8601; empty for text that is none. */
export function timeIn(text: string): string {
  const at = Date.parse(text)
  return text && Number.isFinite(at) ? new Date(at).toISOString() : ''
}

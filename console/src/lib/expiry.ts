/** How long certificates are good for, in words. */

const DAY = 86_400_000

const plural = (count: number, unit: string) => `${count} ${unit}${count === 1 ? '' : 's'}`

/** A span of time in its largest unit, such as `3 days`. */
export function span(milliseconds: number): string {
  const size = Math.abs(milliseconds)
  if (size < 3_600_000) return plural(Math.floor(size / 60_000), 'minute')
  if (size < 2 * DAY) return plural(Math.floor(size / 3_600_000), 'hour')
  if (size < 90 * DAY) return plural(Math.floor(size / DAY), 'day')
  if (size < 730 * DAY) return plural(Math.floor(size / (30.44 * DAY)), 'month')
  return plural(Math.floor(size / (365.25 * DAY)), 'year')
}

/** When something ends: `in 3 days`, or `5 hours ago`. */
export function untilWords(end: number, now: number): string {
  return end >= now ? `in ${span(end - now)}` : `${span(now - end)} ago`
}

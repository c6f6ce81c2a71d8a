/** Times, sizes and rates as the screen shows them. */

/** An age, such as `12 s`, `4 min`, `2 h`, `12 d`. */
export function age(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  if (seconds < 90) return `${seconds} s`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}

const PREFIXES = ['', 'k', 'M', 'G', 'T']

function scaled(value: number, unit: string): string {
  let power = 0
  while (Math.abs(value) >= 1000 && power < PREFIXES.length - 1) {
    value /= 1000
    power += 1
  }
  const digits = power === 0 || Math.abs(value) >= 100 ? 0 : 1
  return `${value.toFixed(digits)} ${PREFIXES[power]}${unit}`
}

/** A rate in bits per second, such as `4.1 Mb/s`. */
export const bitRate = (bitsPerSecond: number) => scaled(bitsPerSecond, 'b/s')

/** A size in bytes, such as `2.3 MB`. */
export const bytes = (count: number) => scaled(count, 'B')

/** A time of an answer of the API as milliseconds since 1970. Without a zone it is UTC. */
export function timeOf(text: string): number {
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`)
}

/** A moment in the reader's own zone, such as `2026-11-29 10:42:07`. */
export function moment(milliseconds: number): string {
  const at = new Date(milliseconds)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** A text of the API as a sentence: with a capital letter and a full stop. */
export function sentence(text: string): string {
  return text && `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}

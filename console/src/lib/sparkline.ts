/** Small lines of values without axes. Pure. */

/**
 * The path (SVG) of values from 0 to their maximum in a box; null: a gap. Empty without two values beside each other.
 * `top`: the maximum that counts at least, so that a quiet line stays flat.
 */
export function sparkline(values: readonly (number | null)[], width: number, height: number, top = 1): string {
  const most = Math.max(top, ...values.map((value) => value ?? 0))
  const step = values.length > 1 ? width / (values.length - 1) : 0
  let path = ''
  let pen = false
  values.forEach((value, index) => {
    if (value === null) {
      pen = false
      return
    }
    path += `${pen ? 'L' : 'M'}${round(index * step)} ${round(height - (value / most) * height)}`
    pen = true
  })
  return path.includes('L') ? path : ''
}

const round = (value: number) => Math.round(value * 10) / 10

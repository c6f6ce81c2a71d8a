/** The causes that a connection is not as desired, as the API declares them. */

import causes from '../generated/causes.json'

export interface Cause {
  title: string
  severity: 'error' | 'warning' | 'info'
  layer: string
}

/** A cause by its code; undefined for a code that a newer API has. */
export function causeOf(code: string): Cause | undefined {
  return (causes as Record<string, Cause>)[code]
}

export const CAUSE_CODES: readonly string[] = Object.keys(causes)

/** What has changed lately, in numbers. Pure. */

import type { Event } from './events.ts'
import { timeOf } from './format.ts'

/** Milliseconds after an edit in which a tunnel that goes down counts as lost by it. */
const BY_EDIT = 60_000

export interface Recent {
  edits: number
  down: number
  up: number
  /** Connections that went down soon after an edit, and are not up again. */
  lost: string[]
}

/** Counts of events, the newest of which comes first. One request may edit what several connections use: it counts once. */
export function recent(events: readonly Event[]): Recent {
  const requests = new Set<string>()
  const edited = new Map<string, number>()
  const lost = new Set<string>()
  let up = 0
  let down = 0
  for (const event of [...events].reverse()) {
    const at = timeOf(event.at)
    if (event.kind === 'revision') {
      requests.add(event.revision?.request_id || event.id)
      if (event.revision?.action !== 'delete') edited.set(event.connection_id, at)
    } else if (event.kind === 'up') {
      up += 1
      lost.delete(event.connection_id)
    } else if (event.kind === 'down') {
      down += 1
      if (at - (edited.get(event.connection_id) ?? -Infinity) <= BY_EDIT) lost.add(event.connection_id)
    }
  }
  return { edits: requests.size, down, up, lost: [...lost] }
}

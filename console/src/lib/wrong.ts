/** What is wrong, as a whole: connections that are not as desired, by cause. Pure. */

import { termText } from './filter.ts'
import { commonNetwork } from './networks.ts'
import type { Row } from './rows.ts'
import type { State } from './state.ts'

export interface Group {
  /** The code; empty for those that have none. */
  cause: string
  rows: Row[]
  /** The worst state of them. */
  state: State
  projects: number
  /** A network that all peers are in; null: none, or there is one peer. */
  network: string | null
  /** The filter that finds them. */
  filter: string
}

/** Worst first. A connection that is disabled or up is as somebody wants it. */
const WRONG: readonly State[] = ['error', 'down', 'degraded', 'waiting']

/** Groups by cause: those with a connection in error first, then down; among those, the largest first. */
export function wrongByCause(rows: Iterable<Row>): Group[] {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    if (!WRONG.includes(row.state) || (row.state === 'waiting' && !row.fields.cause)) continue
    const group = groups.get(row.fields.cause)
    if (group) group.push(row)
    else groups.set(row.fields.cause, [row])
  }
  const found = [...groups].map(([cause, members]) => groupOf(cause, members))
  return found.sort((a, b) => WRONG.indexOf(a.state) - WRONG.indexOf(b.state) || b.rows.length - a.rows.length)
}

function groupOf(cause: string, rows: Row[]): Group {
  const states = new Set(rows.map((row) => row.state))
  return {
    cause,
    rows,
    state: WRONG.find((state) => states.has(state)) as State,
    projects: new Set(rows.map((row) => row.connection.project_id)).size,
    network: commonNetwork(rows.map((row) => row.fields.peer)),
    filter: `${WRONG.filter((state) => states.has(state)).join(' ')} ${termText('cause', cause)}`,
  }
}

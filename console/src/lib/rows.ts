/** Connections as rows of a list: what is shown, filtered, sorted and downloaded. */

import type { Connection } from './connections.svelte.ts'
import type { FilterFields } from './filter.ts'
import { STATES, type State, stateOf } from './state.ts'

export interface Row {
  id: string
  connection: Connection
  state: State
  fields: FilterFields
}

/** A row of a connection. `project`, `service`: their names. */
export function rowOf(connection: Connection, project: string, service: string): Row {
  const state = stateOf(connection)
  const fields: FilterFields = {
    state,
    name: connection.name,
    project,
    peer: connection.peer_address,
    cause: connection.status_code,
    service,
    id: connection.id,
    text: `${connection.status_reason} ${connection.description}`,
  }
  return { id: connection.id, connection, state, fields }
}

/** How many rows are in each state. */
export function countStates(rows: Iterable<Row>): Record<State, number> {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>
  for (const row of rows) counts[row.state] += 1
  return counts
}

/** The state of a connection as the screen shows it: a shape and a word, never a colour alone. */

import type { Connection } from './connections.svelte.ts'

export type State = 'up' | 'degraded' | 'waiting' | 'down' | 'error' | 'disabled'

/** Worst first: the order of lists. */
export const STATES: readonly State[] = ['error', 'down', 'degraded', 'waiting', 'disabled', 'up']

export const SHAPES: Record<State, string> = {
  up: '▲',
  degraded: '~',
  waiting: '◔',
  down: '▼',
  error: '✕',
  disabled: '○',
}

/** `status`, `admin_state_up` and `status_code` decide. */
export function stateOf(connection: Pick<Connection, 'status' | 'admin_state_up' | 'status_code'>): State {
  if (connection.admin_state_up === false) return 'disabled'
  switch (connection.status) {
    case 'ACTIVE':
      return connection.status_code ? 'degraded' : 'up'
    case 'DOWN':
      return 'down'
    case 'ERROR':
      return 'error'
    default:
      return 'waiting'
  }
}

/** The columns of the list of connections. */

import type { Row } from './rows.ts'

export type ColumnKey = 'state' | 'name' | 'project' | 'service' | 'peer' | 'cause' | 'since' | 'rates' | 'updated'

/** Those that are shown until the user chooses. */
export const USUAL: readonly ColumnKey[] = ['state', 'name', 'project', 'peer', 'cause', 'since', 'rates']
export const ALL: readonly ColumnKey[] = ['state', 'name', 'project', 'service', 'peer', 'cause', 'since', 'rates', 'updated']
/** Columns that always are there. */
export const FIXED: ReadonlySet<ColumnKey> = new Set(['state', 'name'])

const KEY = 'linkspan-columns'

/** The columns that this browser's user has chosen, in the order of `ALL`. */
export function chosenColumns(): ColumnKey[] {
  const text = localStorage.getItem(KEY)
  if (text === null) return [...USUAL]
  const chosen = new Set(text.split(','))
  return ALL.filter((key) => FIXED.has(key) || chosen.has(key))
}

export function chooseColumns(keys: readonly ColumnKey[]): void {
  localStorage.setItem(KEY, keys.join(','))
}

/** The text of a cell in a download; `since`: when it came into its state, in milliseconds since 1970. */
export function cellText(row: Row, key: ColumnKey, since: number | null): string {
  switch (key) {
    case 'state':
    case 'name':
    case 'project':
    case 'service':
    case 'peer':
    case 'cause':
      return row.fields[key]
    case 'since':
      return since === null ? '' : new Date(since).toISOString()
    case 'updated':
      return row.connection.updated_at
    case 'rates':
      return ''
  }
}

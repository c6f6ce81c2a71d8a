/** The order of rows. Pure. */

/** Rows sorted by a key, those with the same key as they were. */
export function sortedBy<T>(rows: readonly T[], by: (row: T) => string | number, descending = false): T[] {
  const sign = descending ? -1 : 1
  const keyed = rows.map((row) => ({ row, key: by(row) }))
  keyed.sort((a, b) => (a.key < b.key ? -sign : a.key > b.key ? sign : 0))
  return keyed.map((item) => item.row)
}

/** Rows in the order of earlier ids; new ones come last, as they are. */
export function inOrder<T extends { id: string }>(rows: readonly T[], ids: readonly string[]): T[] {
  const places = new Map(ids.map((id, index) => [id, index]))
  return sortedBy(rows, (row) => places.get(row.id) ?? ids.length)
}

/** What has changed in an object while it was being edited. */

export interface Changed {
  name: string
  before: string
  now: string
}

const shownAs = (value: unknown) =>
  value === null || value === undefined || value === '' ? '–' : typeof value === 'string' ? value : JSON.stringify(value)

/** The attributes of `names` that differ between two readings of an object. Of a secret one no value is told. */
export function changedSince(
  before: Record<string, unknown>,
  now: Record<string, unknown>,
  names: readonly string[],
  secrets: readonly string[],
): Changed[] {
  return names
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]))
    .map((name) => (secrets.includes(name) ? { name, before: '', now: '' } : { name, before: shownAs(before[name]), now: shownAs(now[name]) }))
}

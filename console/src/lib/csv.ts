/** Tables as comma-separated values (RFC 4180). Pure. */

/** What a spreadsheet takes for a formula. */
const FORMULA = /^[=+\-@\t\r]/

/** A cell: in quotes where it needs them, and never a formula. */
export function csvCell(text: string): string {
  const harmless = FORMULA.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

/** The text of a table with its titles in the first line. */
export function csvText(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  return [titles, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join('')
}

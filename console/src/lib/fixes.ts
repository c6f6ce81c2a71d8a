/** What of a cause can be mended here, and by what. */

export interface Fixable {
  cause: { severity: string; fix: readonly { who: string; text: string }[] } | null
  last_good_revision: number | null
}

export type Remedy =
  /** An attribute of the connection is to be edited. */
  | { kind: 'edit'; field: string }
  | { kind: 'key' }
  | { kind: 'enable' }
  /** A policy is to be changed, or another one to be chosen. */
  | { kind: 'policy'; of: 'ike' | 'ipsec' }
  | { kind: 'rollback'; revision: number }

const POLICIES = { ike: /\bIKE polic|\bphase1_negotiation_mode\b/, ipsec: /\bIPsec polic|\btransform_protocol\b/ } as const

/**
 * The remedies that the sentences of a cause name, in their order, each once. `fields`: the attributes of a connection that
 * can be changed; the API's sentences call them by their names.
 */
export function remedies(
  diagnosis: Fixable,
  connection: { revision_number: number; admin_state_up: boolean },
  fields: readonly string[],
): Remedy[] {
  const found: Remedy[] = []
  const texts = diagnosis.cause?.fix.filter((fix) => fix.who === 'us').map((fix) => fix.text) ?? []
  for (const text of texts) {
    for (const word of text.match(/[a-z_]+/g) ?? []) {
      if (!fields.includes(word)) continue
      if (word === 'psk') found.push({ kind: 'key' })
      else if (word !== 'admin_state_up') found.push({ kind: 'edit', field: word })
      else if (!connection.admin_state_up) found.push({ kind: 'enable' })
    }
    for (const which of ['ike', 'ipsec'] as const) if (POLICIES[which].test(text)) found.push({ kind: 'policy', of: which })
  }
  const good = diagnosis.last_good_revision
  const isBroken = diagnosis.cause !== null && diagnosis.cause.severity !== 'info'
  if (isBroken && good !== null && good < connection.revision_number) found.push({ kind: 'rollback', revision: good })
  const seen = new Set<string>()
  return found.filter((remedy) => {
    const key = JSON.stringify(remedy)
    return !seen.has(key) && seen.add(key)
  })
}

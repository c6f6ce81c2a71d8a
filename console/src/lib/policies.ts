/** The weak choices of a policy, by the API's own list of weak algorithms. */

import type { Values } from './schema_form.ts'

/** The names of the attributes of a policy with a weak value that it uses. `weak`, `aead`: algorithms, of the registry. */
export function weakChoices(policy: Values, weak: readonly string[], aead: readonly string[]): string[] {
  const unused = policy.transform_protocol === 'ah' ? 'encryption_algorithm' : policy.transform_protocol === 'esp' && aead.includes(String(policy.encryption_algorithm)) ? 'auth_algorithm' : ''
  const found = ['encryption_algorithm', 'auth_algorithm', 'pfs'].filter((name) => name !== unused && weak.includes(String(policy[name])))
  if (policy.ike_version === 'v1' && policy.phase1_negotiation_mode === 'aggressive') found.push('phase1_negotiation_mode')
  return found
}

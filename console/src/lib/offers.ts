/** What both ends offer each other, row by row, as far as this end knows it. */

import type { components } from '../generated/api'

type Schemas = components['schemas']
type Layer = Schemas['Layer']
type Sa = Schemas['LiveIkeSa']

export type OfferKey = 'ike' | 'ourId' | 'peerId' | 'auth' | 'child' | 'networks'
/** `unreached`: the negotiation has not come this far; `unknown`: the peer has not said it. */
export type Agreement = 'same' | 'differs' | 'unknown' | 'unreached'

export interface Offer {
  key: OfferKey
  ours: string
  peers: string
  agreement: Agreement
}

export interface Configured {
  connection: { local_id: string; peer_id: string; auth_mode: string; peer_cidrs: readonly string[] }
  ike?: Schemas['IkePolicyFields']
  ipsec?: Schemas['IpsecPolicyFields']
  /** The gateway's address, which is its identity without a `local_id`. */
  external: string
  local: readonly string[]
  /** Those of the endpoint group, if there is one. */
  remote?: readonly string[]
}

export interface Observed {
  cause: { code: string; layer: string; ours: string; peer: string } | null
  layers: readonly Layer[]
  live: { ike_sas: readonly Sa[] } | null
}

/** The layer that decides about a row. */
const LAYER: Record<OfferKey, Layer['name']> = {
  ike: 'ike',
  ourId: 'authentication',
  peerId: 'authentication',
  auth: 'authentication',
  child: 'child',
  networks: 'child',
}

/** The row that a cause is about; others of the same layer are not known then. */
function rowOf(code: string): OfferKey | undefined {
  if (code === 'LOCAL_ID_REFUSED') return 'ourId'
  if (code === 'PEER_ID_MISMATCH' || code === 'ID_NOT_IN_CERT') return 'peerId'
  if (/^(PSK|AUTH_METHOD|CERT|PPK)_/.test(code)) return 'auth'
  if (code.startsWith('SELECTORS_')) return 'networks'
  if (/^(ESP_PROPOSAL|PFS|ENCAPSULATION_MODE)_/.test(code)) return 'child'
  if (/^(IKE_|EXCHANGE_MODE)/.test(code)) return 'ike'
  return undefined
}

const joined = (parts: readonly (string | undefined)[], by: string) => parts.filter(Boolean).join(by)

/** The IKE policy in one line, such as `IKEv2 aes-256 / sha256 / group14`. */
export function ikeText(policy: Schemas['IkePolicyFields'] | undefined): string {
  if (!policy) return ''
  const mode = policy.ike_version === 'v1' ? policy.phase1_negotiation_mode : undefined
  const algorithms = joined([policy.encryption_algorithm, policy.auth_algorithm, policy.pfs], ' / ')
  return joined([`IKE${policy.ike_version}`, mode, algorithms], ' ')
}

/** The IPsec policy in one line, such as `esp tunnel aes-256 / sha256 / group14`. */
export function ipsecText(policy: Schemas['IpsecPolicyFields'] | undefined): string {
  if (!policy) return ''
  const algorithms = joined([policy.encryption_algorithm, policy.auth_algorithm, policy.pfs], ' / ')
  return joined([policy.transform_protocol, policy.encapsulation_mode, algorithms], ' ')
}

const suite = (name: string, bits: number, ...rest: string[]) => joined([bits ? `${name}_${bits}` : name, ...rest], ' / ')

/** What an IKE SA has negotiated, in charon's words. */
export const negotiatedIke = (sa: Sa) => `IKEv${sa.version} ${suite(sa.encryption, sa.encryption_bits, sa.integrity, sa.prf, sa.key_exchange)}`

/** What a child SA has negotiated, in charon's words. */
export const negotiatedChild = (child: Sa['children'][number]) =>
  `${child.protocol} ${child.mode} ${suite(child.encryption, child.encryption_bits, child.integrity, child.key_exchange)}`

const networks = (local: readonly string[], remote: readonly string[]) => `${joined(local, ', ')} ↔ ${joined(remote, ', ')}`

/** The rows of the table. */
export function offers({ connection, ike, ipsec, external, local, remote }: Configured, { cause, layers, live }: Observed): Offer[] {
  const sa = live?.ike_sas.find((item) => item.state === 'ESTABLISHED') ?? live?.ike_sas.find((item) => item.children.length > 0)
  const child = sa?.children.find((item) => item.state === 'INSTALLED') ?? sa?.children[0]
  const ours: Record<OfferKey, string> = {
    ike: ikeText(ike),
    ourId: connection.local_id || external,
    peerId: connection.peer_id,
    auth: connection.auth_mode,
    child: ipsecText(ipsec),
    networks: networks(local, remote ?? connection.peer_cidrs),
  }
  const seen: Record<OfferKey, string | undefined> = {
    ike: sa && negotiatedIke(sa),
    ourId: sa?.local_identity,
    peerId: sa?.remote_identity,
    auth: undefined,
    child: child && negotiatedChild(child),
    networks: child && networks(child.local_selectors, child.remote_selectors),
  }
  const wrong = cause ? rowOf(cause.code) : undefined
  return (Object.keys(ours) as OfferKey[]).map((key) => {
    const peers = seen[key] || ''
    if (key === wrong && cause) return { key, ours: cause.ours || ours[key], peers: cause.peer || peers, agreement: 'differs' }
    return { key, ours: ours[key], peers, agreement: agreementOf(layers.find((layer) => layer.name === LAYER[key]), wrong, key) }
  })
}

function agreementOf(layer: Layer | undefined, wrong: OfferKey | undefined, key: OfferKey): Agreement {
  if (layer?.state === 'ok') return 'same'
  if (layer?.state === 'failed') return 'unknown'
  // The child SA may be up while another one of its networks is missing.
  return layer?.state === 'waiting' && wrong !== undefined && LAYER[wrong] === LAYER[key] ? 'same' : 'unreached'
}

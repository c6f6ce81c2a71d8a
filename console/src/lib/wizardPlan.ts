/** The objects that a new tunnel takes, and the fields that the API's refusals are about. Pure. */

import type { Choice } from './devices.ts'
import { canonicalHost, identityOf, localSubnets, peerCidrs, serviceOf, usableFor, type Draft, type Field, type World } from './wizard.ts'

export type Key = 'service' | 'ike' | 'ipsec' | 'local' | 'peer' | 'connection'
export type Ids = Partial<Record<Key, string>>

/** An object that a tunnel takes. `id`: one that exists is used; otherwise `body` makes it. */
export interface Item {
  key: Key
  resource: 'vpnservice' | 'ikepolicy' | 'ipsecpolicy' | 'endpoint_group' | 'ipsec_site_connection'
  name: string
  id?: string
  body: (ids: Ids) => Record<string, unknown>
}

/** True if an object has the values of a request: of lists those members, in any order. */
export function hasValues(object: object, values: Record<string, unknown>): boolean {
  return Object.entries(values).every(([name, value]) => sorted((object as Record<string, unknown>)[name]) === sorted(value))
}

function sorted(value: unknown): string {
  if (Array.isArray(value)) return JSON.stringify([...value].sort())
  if (typeof value === 'object' && value !== null) return JSON.stringify(Object.entries(value).sort())
  return JSON.stringify(value)
}

/** Longest name of the tunnel in the name of another object: the API takes 255 characters. */
const NAME = 240

/** The objects of a tunnel, in the order in which they are made. `choice`: null with policies that there are. */
export function planOf(world: World, draft: Draft, key: string, choice: Choice | null): Item[] {
  const service = serviceOf(world, draft)
  const project = world.routers.find((item) => item.id === draft.routerId)?.project_id
  const owned = usableFor(world, project)
  const base = [...draft.name.trim()].slice(0, NAME).join('')
  const owner = project === undefined ? {} : { project_id: project }
  const items: Item[] = [
    {
      key: 'service', resource: 'vpnservice', name: service?.name ?? `${base}-service`, id: service?.id,
      body: () => ({ ...owner, name: `${base}-service`, router_id: draft.routerId }),
    },
  ]
  const policies = [['ike', 'ikepolicy', owned.ikepolicies, draft.ikePolicyId], ['ipsec', 'ipsecpolicy', owned.ipsecpolicies, draft.ipsecPolicyId]] as const
  for (const [side, resource, all, chosen] of policies) {
    const values = choice?.[side]
    const fixed = side === 'ike' ? { phase1_negotiation_mode: 'main' } : { encapsulation_mode: 'tunnel' }
    const equal = values ? all.find((item) => hasValues(item, { ...fixed, ...values })) : all.find((item) => item.id === chosen)
    const name = `${base}-${side}`
    items.push({ key: side, resource, name: equal?.name ?? name, id: equal?.id, body: () => ({ ...owner, name, ...values }) })
  }
  if (!service?.subnet_id) {
    const sides = [['local', 'subnet', localSubnets(world, draft).map((item) => item.id)], ['peer', 'cidr', peerCidrs(draft)]] as const
    for (const [side, type, endpoints] of sides) {
      const equal = owned.groups.find((item) => hasValues(item, { type, endpoints }))
      const name = `${base}-${side}`
      items.push({ key: side, resource: 'endpoint_group', name: equal?.name ?? name, id: equal?.id, body: () => ({ ...owner, name, type, endpoints }) })
    }
  }
  items.push({
    key: 'connection', resource: 'ipsec_site_connection', name: draft.name.trim(),
    body: (ids) => ({ ...owner, ...connectionBody(draft, key, ids) }),
  })
  return items
}

function connectionBody(draft: Draft, key: string, ids: Ids): Record<string, unknown> {
  return {
    name: draft.name.trim(),
    vpnservice_id: ids.service, ikepolicy_id: ids.ike, ipsecpolicy_id: ids.ipsec,
    peer_address: canonicalHost(draft.peerAddress),
    peer_id: identityOf(draft),
    ...(draft.localId.trim() && { local_id: draft.localId.trim() }),
    ...(ids.peer ? { local_ep_group_id: ids.local, peer_ep_group_id: ids.peer } : { peer_cidrs: peerCidrs(draft) }),
    ...(draft.authMode === 'psk' ? { psk: key } : { auth_mode: 'certs', local_certificate_id: draft.certificateId, trust_anchor_id: draft.anchorId }),
    dpd: { action: draft.dpdAction, interval: draft.dpdInterval, timeout: draft.dpdTimeout },
    initiator: draft.initiator,
  }
}

const NAMED: Record<string, Field> = {
  name: 'name', router_id: 'routerId', subnet_id: 'subnetIds', local_ep_group_id: 'subnetIds',
  peer_address: 'peerAddress', peer_cidrs: 'peerNetworks', peer_ep_group_id: 'peerNetworks', endpoints: 'peerNetworks',
  peer_id: 'peerId', local_id: 'localId', psk: 'psk', local_certificate_id: 'certificateId', trust_anchor_id: 'anchorId',
  dpd: 'dpdTimeout', initiator: 'initiator', ike_version: 'version', crypto_profile: 'profile', encryption_algorithm: 'profile',
  auth_algorithm: 'profile', pfs: 'profile', lifetime: 'profile', auth_mode: 'authMode',
}
const TYPES: Record<string, Field> = {
  VPNPeerAddressNotResolved: 'peerAddress', ExternalNetworkHasNoSubnet: 'peerAddress',
  MixedIPVersionsForPeerCidrs: 'peerNetworks', MixedIPVersionsForIPSecEndpoints: 'peerNetworks', MixedIPVersionsForIPSecConnection: 'peerNetworks',
  InvalidEndpointInEndpointGroup: 'peerNetworks', MissingPeerCidrs: 'peerNetworks',
  SubnetIsNotConnectedToRouter: 'subnetIds', NonExistingSubnetInEndpointGroup: 'subnetIds', RouterIsNotExternal: 'routerId', RouterNotFound: 'routerId',
  IPsecSiteConnectionDpdIntervalValueError: 'dpdTimeout', VPNCertificateNotFound: 'certificateId', TrustAnchorNotFound: 'anchorId',
}

/** The field that an error of the API is about; undefined if it names none. */
export function fieldOf(error: { type: string; message: string }): Field | undefined {
  const named = /^Invalid input for ([a-z_.]+)\. Reason/.exec(error.message)?.[1]?.split('.')[0]
  return (named && NAMED[named]) || TYPES[error.type] || (error.type === 'IPsecSiteConnectionConflict' && / psk/.test(error.message) ? 'psk' : undefined)
}

/** A new tunnel from what its user has entered: checks, and the objects that it takes. Pure. */

import type { components } from '../generated/api'
import { takesKey, type Choice, type Device, type Profile } from './devices.ts'
import { addressText, canonicalCidrs, cidrFault, contains, hostFault, overlaps, parseAddress, parseNetwork, words, type Network } from './networks.ts'
import { t } from './strings.ts'

type Schemas = components['schemas']
export type Router = Required<Schemas['Router']>
export type Subnet = Required<Schemas['Subnet']>
export type Port = Required<Schemas['Port']>
export type Service = Required<Schemas['Service']>
export type Connection = Required<Schemas['Connection']>
export type Group = Required<Schemas['EndpointGroup']>
export type IkePolicy = Required<Schemas['IkePolicy']>
export type IpsecPolicy = Required<Schemas['IpsecPolicy']>

/** What there is, as far as the user may see it. */
export interface World {
  routers: Router[]
  ports: Port[]
  subnets: Subnet[]
  services: Service[]
  groups: Group[]
  ikepolicies: IkePolicy[]
  ipsecpolicies: IpsecPolicy[]
  connections: Connection[]
  profiles: Profile[]
  certificates: Required<Schemas['Certificate']>[]
  anchors: Required<Schemas['TrustAnchor']>[]
}

/** What the user has entered; never the pre-shared key. `format`: names the peer's device. Empty ids: not chosen. */
export interface Draft {
  name: string
  routerId: string
  serviceId: string
  subnetIds: string[]
  peerAddress: string
  format: string
  peerNetworks: string
  peerId: string
  localId: string
  profile: string
  version: string
  ikePolicyId: string
  ipsecPolicyId: string
  authMode: 'psk' | 'certs'
  certificateId: string
  anchorId: string
  dpdAction: string
  dpdInterval: number
  dpdTimeout: number
  initiator: string
}

export type Field = keyof Draft | 'psk'
export type Problems = Partial<Record<Field, string>>
/** The fields of each step, in their order. */
export const FIELDS: readonly (readonly Field[])[] = [
  ['name', 'routerId', 'serviceId', 'subnetIds'],
  ['peerAddress', 'format', 'peerNetworks', 'peerId', 'localId'],
  ['profile', 'version', 'ikePolicyId', 'ipsecPolicyId', 'authMode', 'psk', 'certificateId', 'anchorId', 'dpdAction', 'dpdInterval', 'dpdTimeout', 'initiator'],
]
/** In place of a profile: policies that there are. */
export const EXISTING = 'existing'

/** `dpd`, `initiator`: the defaults of the API. */
export function emptyDraft(dpd: { action: string; interval: number; timeout: number }, initiator: string): Draft {
  return {
    name: '', routerId: '', serviceId: '', subnetIds: [],
    peerAddress: '', format: 'text', peerNetworks: '', peerId: '', localId: '',
    profile: 'recommended', version: 'v2', ikePolicyId: '', ipsecPolicyId: '', authMode: 'psk', certificateId: '', anchorId: '',
    dpdAction: dpd.action, dpdInterval: dpd.interval, dpdTimeout: dpd.timeout, initiator,
  }
}

/** A subnet that a router has an interface on. `cidr`: empty if it is another project's, and cannot be read. */
export interface Attached {
  id: string
  cidr: string
  name: string
}

export function attachedTo(world: World, routerId: string): Attached[] {
  const ports = world.ports.filter((port) => port.device_id === routerId && port.device_owner.startsWith('network:router_interface'))
  return ports.flatMap((port) =>
    port.fixed_ips.map(({ subnet_id }) => {
      const subnet = world.subnets.find((item) => item.id === subnet_id)
      return { id: subnet_id, cidr: subnet?.cidr ?? '', name: subnet?.name ?? '' }
    }),
  )
}

/** The external addresses of a router; empty without an external gateway. */
export const addressesOf = (router: Router): string[] => router.external_gateway_info?.external_fixed_ips?.map((item) => item.ip_address ?? '') ?? []

/** The routers that can carry a tunnel: with an external gateway and a network inside. */
export const usableRouters = (world: World) =>
  world.routers.filter((router) => addressesOf(router).length > 0 && attachedTo(world, router.id).length > 0)

/**
 * The service that a tunnel uses: the one that was chosen, else an enabled one of the router that fits its local networks;
 * null if one has to be created.
 */
export function serviceOf(world: World, draft: Draft): Service | null {
  const services = world.services.filter((item) => item.router_id === draft.routerId)
  if (draft.serviceId) return services.find((item) => item.id === draft.serviceId) ?? null
  const [only] = draft.subnetIds
  const enabled = services.filter((item) => item.admin_state_up)
  const exact = draft.subnetIds.length === 1 ? enabled.find((item) => item.subnet_id === only) : undefined
  return exact ?? enabled.find((item) => !item.subnet_id) ?? null
}

/** The local networks of a draft: of its service, if that has a subnet of its own. */
export function localSubnets(world: World, draft: Draft): Attached[] {
  const own = serviceOf(world, draft)?.subnet_id
  return attachedTo(world, draft.routerId).filter((item) => (own ? item.id === own : draft.subnetIds.includes(item.id)))
}

/** What a tunnel of a project can use. */
export function usableFor(world: World, project: string | undefined) {
  const mine = <T extends { project_id?: string }>(items: T[]) => items.filter((item) => item.project_id === project)
  return {
    ikepolicies: mine(world.ikepolicies),
    ipsecpolicies: mine(world.ipsecpolicies),
    groups: mine(world.groups),
    certificates: mine(world.certificates),
    anchors: mine(world.anchors),
  }
}

const networksOf = (texts: readonly string[]) => texts.map(parseNetwork).filter((item): item is Network => item !== null)
const versionsOf = (networks: readonly Network[]) => new Set(networks.map((item) => item.version))

/** What is wrong in a draft, by field, in the words for its user. `key`: the pre-shared key. */
export function problemsOf(world: World, draft: Draft, key: string, device: Device): Problems {
  const found: Problems = {}
  const say = (field: Field, text: string | false | null | undefined) => {
    if (text && !found[field]) found[field] = text
  }
  const w = t.wizard.problems
  const router = world.routers.find((item) => item.id === draft.routerId)
  const local = networksOf(localSubnets(world, draft).map((item) => item.cidr))
  say('name', !draft.name.trim() && w.name)
  say('routerId', !router && w.router)
  say('subnetIds', router && localSubnets(world, draft).length === 0 && w.subnets)
  say('subnetIds', versionsOf(local).size > 1 && w.mixed)

  const host = draft.peerAddress.trim()
  say('peerAddress', !host ? w.peerAddress : hostText(host))
  if (router && host) say('peerAddress', ownAddress(router, host))

  const list = words(draft.peerNetworks)
  const peer = networksOf(list)
  say('peerNetworks', list.length === 0 ? w.peerNetworks : cidrText(list))
  say('peerNetworks', versionsOf(peer).size > 1 && w.mixed)
  say('peerNetworks', local.length > 0 && peer.length > 0 && versionsOf([...local, ...peer]).size > 1 && w.versions)
  for (const attached of router ? attachedTo(world, router.id) : []) {
    const own = parseNetwork(attached.cidr)
    const inside = own && peer.find((network) => contains(own, network))
    say('peerNetworks', inside && w.inside(list[peer.indexOf(inside)] ?? '', attached.cidr))
  }
  say('peerNetworks', device.pairs === 'one' && peer.length * local.length > 1 && w.onePair)
  say('localId', device.addressesAreIdentities && draft.localId.trim() && w.addressOnly)
  say('peerId', device.addressesAreIdentities && parseAddress(host) && draft.peerId.trim() && draft.peerId.trim() !== host && w.addressOnly)

  if (draft.profile === EXISTING) {
    say('ikePolicyId', !draft.ikePolicyId && w.policy)
    say('ipsecPolicyId', !draft.ipsecPolicyId && w.policy)
  } else say('version', !device.versions.includes(draft.version) && w.version(device.versions.join(', ')))
  if (draft.authMode === 'psk') {
    say('psk', !key && w.psk)
    say('psk', key && !takesKey(device, key) && w.pskForm(device.psk.words.replace(/,$/, '')))
  } else {
    say('certificateId', !draft.certificateId && w.certificate)
    say('anchorId', !draft.anchorId && w.anchor)
  }
  for (const field of ['dpdInterval', 'dpdTimeout'] as const) say(field, !(Number.isInteger(draft[field]) && draft[field] > 0) && w.seconds)
  say('dpdTimeout', draft.dpdTimeout <= draft.dpdInterval && w.timeout)
  return found
}

function hostText(host: string): string | null {
  const fault = hostFault(host)
  return fault && t.wizard.problems.host[fault]
}

function cidrText(list: readonly string[]): string | null {
  const fault = cidrFault(list)
  if (!fault) return null
  return fault.kind === 'bits' ? t.wizard.problems.bits(fault.text, fault.network) : t.wizard.problems.cidr[fault.kind](fault.text)
}

function ownAddress(router: Router, host: string): string | null {
  const address = parseAddress(host)
  if (!address) return null
  const own = addressesOf(router).map(parseAddress)
  if (own.some((item) => item?.version === address.version && item.value === address.value)) return t.wizard.problems.own
  return own.some((item) => item?.version === address.version) ? null : t.wizard.problems.noAddress(address.version)
}

/** The first step (from 0) with a problem; 3 if there is none. */
export function firstFaulty(problems: Problems): number {
  const at = FIELDS.findIndex((fields) => fields.some((field) => problems[field]))
  return at < 0 ? FIELDS.length : at
}

/** A remark about another connection of the same gateway. */
export interface Remark {
  kind: 'supersedes' | 'sameNetworks' | 'nested' | 'sameEnds'
  connection: Connection
}

/** The networks of the peer of a connection. */
export function peerNetworksOf(world: World, connection: Connection): string[] {
  if (!connection.peer_ep_group_id) return connection.peer_cidrs as string[]
  return (world.groups.find((item) => item.id === connection.peer_ep_group_id)?.endpoints ?? []) as string[]
}

/** Other connections of the router that a new one meets. The API decides; this says it before anything is made. */
export function remarks(world: World, draft: Draft): Remark[] {
  const service = serviceOf(world, draft)
  const peer = networksOf(words(draft.peerNetworks))
  const [host, id] = [canonicalHost(draft.peerAddress), identityOf(draft)]
  const found: Remark[] = []
  for (const connection of world.connections) {
    const other = world.services.find((item) => item.id === connection.vpnservice_id)
    if (other?.router_id !== draft.routerId) continue
    const theirs = networksOf(peerNetworksOf(world, connection))
    const meet = peer.some((network) => theirs.some((item) => overlaps(network, item)))
    const equal = peer.some((network) => theirs.some((item) => contains(network, item) && contains(item, network)))
    const sameEnds = canonicalHost(connection.peer_address) === host && connection.peer_id === id && (connection.local_id ?? '') === draft.localId.trim()
    if (sameEnds && meet && other.id === service?.id && connection.admin_state_up) found.push({ kind: 'supersedes', connection })
    else if (sameEnds && !meet) found.push({ kind: 'sameEnds', connection })
    else if (meet) found.push({ kind: equal ? 'sameNetworks' : 'nested', connection })
  }
  return found
}

function canonicalHost(text: string): string {
  const address = parseAddress(text.trim())
  return address ? addressText(address) : text.trim().toLowerCase().replace(/\.$/, '')
}

/** The identity that the peer is expected to send. */
export const identityOf = (draft: Draft) => draft.peerId.trim() || canonicalHost(draft.peerAddress)

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

/** The peer's networks of a draft in their canonical texts. */
export const peerCidrs = (draft: Draft) => canonicalCidrs(words(draft.peerNetworks))

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

/** A new tunnel as its user enters it, and what of the project it is about. Pure. */

import type { components } from '../generated/api'
import type { Profile } from './devices.ts'
import { addressText, canonicalCidrs, parseAddress, parseNetwork, words, type Network } from './networks.ts'

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

/** The networks of texts, without what is none. */
export const networksOf = (texts: readonly string[]) => texts.map(parseNetwork).filter((item): item is Network => item !== null)

/** The one text of an address or a name. */
export function canonicalHost(text: string): string {
  const address = parseAddress(text.trim())
  return address ? addressText(address) : text.trim().toLowerCase().replace(/\.$/, '')
}

/** The identity that the peer is expected to send. */
export const identityOf = (draft: Draft) => draft.peerId.trim() || canonicalHost(draft.peerAddress)

/** The peer's networks of a draft in their canonical texts. */
export const peerCidrs = (draft: Draft) => canonicalCidrs(words(draft.peerNetworks))

/** What is wrong with a new tunnel, before the API is asked; and which other connections it meets. Pure. */

import { takesKey, type Device } from './devices.ts'
import { cidrFault, contains, hostFault, overlaps, parseAddress, parseNetwork, words, type Network } from './networks.ts'
import { t } from './strings.ts'
import {
  EXISTING, FIELDS, addressesOf, attachedTo, canonicalHost, identityOf, localSubnets, networksOf, serviceOf,
  type Connection, type Draft, type Field, type Problems, type Router, type World,
} from './wizard.ts'

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

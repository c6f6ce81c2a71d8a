import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { choiceFor, type Device, type Profile } from './devices.ts'
import { emptyDraft, localSubnets, serviceOf, usableRouters, type Draft, type World } from './wizard.ts'
import { firstFaulty, problemsOf, remarks } from './wizardChecks.ts'
import { fieldOf, planOf } from './wizardPlan.ts'

const registry = JSON.parse(readFileSync(new URL('../generated/registry.json', import.meta.url), 'utf8'))
const device = (name: string): Device => registry.peerFormats.find((item: { name: string }) => item.name === name).device
const ANY = device('text')
const RECOMMENDED: Profile = {
  name: 'recommended', description: '', source: '', weak: [],
  ikepolicy: { ike_version: 'v2', encryption_algorithm: 'aes-256-gcm-16', auth_algorithm: 'sha256', pfs: 'group19' },
  ipsecpolicy: { transform_protocol: 'esp', encryption_algorithm: 'aes-256-gcm-16', auth_algorithm: 'sha256', pfs: 'group19' },
}
const CHOICE = choiceFor(RECOMMENDED, 'v2', ANY)

function world(more: Partial<Record<keyof World, object[]>> = {}): World {
  const base = {
    routers: [
      { id: 'r', name: 'left', project_id: 'p', external_gateway_info: { network_id: 'x', external_fixed_ips: [{ ip_address: '198.51.100.2' }] } },
      { id: 'bare', name: 'bare', project_id: 'p', external_gateway_info: null },
    ],
    ports: [
      { device_id: 'r', device_owner: 'network:router_interface', fixed_ips: [{ subnet_id: 'a', ip_address: '10.1.0.1' }] },
      { device_id: 'r', device_owner: 'network:router_interface', fixed_ips: [{ subnet_id: 'b', ip_address: '10.5.0.1' }] },
      { device_id: 'r', device_owner: 'network:router_interface', fixed_ips: [{ subnet_id: 'six', ip_address: 'fd00:1::1' }] },
      { device_id: 'r', device_owner: 'network:router_gateway', fixed_ips: [{ subnet_id: 'out', ip_address: '198.51.100.2' }] },
    ],
    subnets: [
      { id: 'a', name: 'a', cidr: '10.1.0.0/24' }, { id: 'b', name: 'b', cidr: '10.5.0.0/24' }, { id: 'six', name: '', cidr: 'fd00:1::/64' },
    ],
    services: [], groups: [], ikepolicies: [], ipsecpolicies: [], connections: [], profiles: [RECOMMENDED], certificates: [], anchors: [],
  }
  return { ...base, ...more } as unknown as World
}

function draft(more: Partial<Draft> = {}): Draft {
  const base = emptyDraft({ action: 'hold', interval: 30, timeout: 120 }, 'bi-directional')
  return { ...base, name: 'berlin', routerId: 'r', subnetIds: ['a'], peerAddress: '203.0.113.9', peerNetworks: '10.9.0.0/24', ...more }
}

const problems = (more: Partial<Draft>, key = 'k'.repeat(20), at = world(), peer = ANY) => problemsOf(at, draft(more), key, peer)

test('a router needs a way out and a network inside', () => {
  assert.deepEqual(usableRouters(world()).map((item) => item.id), ['r'])
})

test('a whole draft has no problem, and each fault is at its field', () => {
  assert.deepEqual(problems({}), {})
  assert.equal(firstFaulty({}), 3)
  const faults: [Partial<Draft>, string, number][] = [
    [{ name: ' ' }, 'name', 0],
    [{ routerId: 'gone' }, 'routerId', 0],
    [{ subnetIds: [] }, 'subnetIds', 0],
    [{ subnetIds: ['a', 'six'] }, 'subnetIds', 0],
    [{ peerAddress: '198.51.100.2' }, 'peerAddress', 1],
    [{ peerAddress: '2001:db8::7' }, 'peerAddress', 1],
    [{ peerAddress: '127.0.0.1' }, 'peerAddress', 1],
    [{ peerNetworks: '10.9.0.1/24' }, 'peerNetworks', 1],
    [{ peerNetworks: '10.1.0.128/25' }, 'peerNetworks', 1],
    [{ peerNetworks: '10.5.0.0/24' }, 'peerNetworks', 1],
    [{ peerNetworks: 'fd00:9::/64' }, 'peerNetworks', 1],
    [{ peerNetworks: '10.9.0.0/24 fd00:9::/64' }, 'peerNetworks', 1],
    [{ dpdTimeout: 30 }, 'dpdTimeout', 2],
    [{ authMode: 'certs' }, 'certificateId', 2],
  ]
  for (const [more, field, step] of faults) {
    const found = problems(more)
    assert.ok(field in found, `${JSON.stringify(more)}: ${JSON.stringify(found)}`)
    assert.equal(firstFaulty(found), step)
  }
  assert.ok('psk' in problems({}, ''))
})

test('a wider peer network is fine', () => {
  assert.deepEqual(problems({ peerNetworks: '0.0.0.0/0' }), {})
  assert.deepEqual(problems({ peerNetworks: '10.0.0.0/8' }), {})
})

test('what a device cannot do is a problem before the request', () => {
  assert.ok('peerNetworks' in problems({ peerNetworks: '10.9.0.0/24 10.8.0.0/24' }, undefined, world(), device('aws')))
  assert.ok('localId' in problems({ localId: 'gw.example.org' }, undefined, world(), device('azure')))
  assert.ok('version' in problems({ version: 'v1' }, undefined, world(), device('cisco-asa')))
  assert.ok('psk' in problems({}, 'short', world(), device('aws')))
})

test('a service that fits is used, with its subnet as the local network', () => {
  const services = [
    { id: 'off', router_id: 'r', subnet_id: 'a', admin_state_up: false },
    { id: 'groups', router_id: 'r', subnet_id: null, admin_state_up: true },
    { id: 'b', router_id: 'r', subnet_id: 'b', admin_state_up: true },
  ]
  const at = world({ services })
  assert.equal(serviceOf(at, draft())?.id, 'groups')
  assert.equal(serviceOf(at, draft({ subnetIds: ['b'] }))?.id, 'b')
  assert.equal(serviceOf(at, draft({ subnetIds: ['a', 'b'] }))?.id, 'groups')
  assert.equal(serviceOf(at, draft({ serviceId: 'off' }))?.id, 'off')
  assert.deepEqual(localSubnets(at, draft({ serviceId: 'b' })).map((item) => item.cidr), ['10.5.0.0/24'])
  assert.equal(serviceOf(world(), draft()), null)
})

test('a plan makes what lacks, with names from the tunnel, and takes equal objects', () => {
  const empty = planOf(world(), draft(), 'key', CHOICE)
  assert.deepEqual(empty.map((item) => [item.key, item.name, item.id]), [
    ['service', 'berlin-service', undefined], ['ike', 'berlin-ike', undefined], ['ipsec', 'berlin-ipsec', undefined],
    ['local', 'berlin-local', undefined], ['peer', 'berlin-peer', undefined], ['connection', 'berlin', undefined],
  ])
  const ike = { id: 'i', name: 'mine', project_id: 'p', phase1_negotiation_mode: 'main', ...CHOICE.ike }
  const ipsec = { id: 'e', name: 'edited', project_id: 'p', encapsulation_mode: 'tunnel', ...CHOICE.ipsec, pfs: 'group14' }
  const groups = [
    { id: 'other', project_id: 'q', type: 'cidr', endpoints: ['10.9.0.0/24', '10.8.0.0/24'] },
    { id: 'same', project_id: 'p', type: 'cidr', endpoints: ['10.8.0.0/24', '10.9.0.0/24'] },
  ]
  const plan = planOf(world({ ikepolicies: [ike], ipsecpolicies: [ipsec], groups }), draft({ peerNetworks: '10.9.0.0/24, 10.8.0.0/24' }), 'key', CHOICE)
  const id = Object.fromEntries(plan.map((item) => [item.key, item.id]))
  assert.deepEqual(id, { service: undefined, ike: 'i', ipsec: undefined, local: undefined, peer: 'same', connection: undefined })
})

test('the connection has networks in groups, or CIDRs where the service has a subnet', () => {
  const last = (plan: ReturnType<typeof planOf>) => plan.at(-1)!.body({ service: 's', ike: 'i', ipsec: 'e', local: 'l', peer: 'g' })
  const grouped = last(planOf(world(), draft({ peerAddress: 'VPN.Example.org.' }), 'key', CHOICE))
  assert.equal(grouped.peer_ep_group_id, 'g')
  assert.equal(grouped.peer_cidrs, undefined)
  assert.equal(grouped.peer_id, 'vpn.example.org')
  assert.equal(grouped.psk, 'key')
  const services = [{ id: 's', router_id: 'r', subnet_id: 'a', admin_state_up: true }]
  const plain = planOf(world({ services }), draft({ authMode: 'certs', certificateId: 'c', anchorId: 't' }), '', CHOICE)
  const body = plain.at(-1)!.body({ service: 's', ike: 'i', ipsec: 'e' })
  assert.deepEqual(body.peer_cidrs, ['10.9.0.0/24'])
  assert.equal(body.auth_mode, 'certs')
  assert.ok(!('psk' in body) && !('local_ep_group_id' in body))
})

test('other connections of the gateway are seen before the request', () => {
  const services = [{ id: 's', router_id: 'r', subnet_id: 'a', admin_state_up: true }]
  const connection = (more: object) => ({ id: 'c', vpnservice_id: 's', peer_address: '203.0.113.9', peer_id: '203.0.113.9', local_id: '', peer_cidrs: ['10.9.0.0/24'], peer_ep_group_id: null, admin_state_up: true, ...more })
  const kinds = (more: object) => remarks(world({ services, connections: [connection(more)] }), draft()).map((item) => item.kind)
  assert.deepEqual(kinds({}), ['supersedes'])
  assert.deepEqual(kinds({ peer_cidrs: ['10.8.0.0/24'] }), ['sameEnds'])
  assert.deepEqual(kinds({ peer_address: '203.0.113.10', peer_id: 'x' }), ['sameNetworks'])
  assert.deepEqual(kinds({ peer_address: '203.0.113.10', peer_id: 'x', peer_cidrs: ['10.0.0.0/8'] }), ['nested'])
  assert.deepEqual(kinds({ peer_address: '203.0.113.10', peer_id: 'x', peer_cidrs: ['10.8.0.0/24'] }), [])
  assert.deepEqual(kinds({ vpnservice_id: 'elsewhere' }), [])
})

test('errors of the API belong to fields', () => {
  const field = (type: string, message: string) => fieldOf({ type, message })
  assert.equal(field('HTTPBadRequest', "Invalid input for peer_address. Reason: 'x' is …."), 'peerAddress')
  assert.equal(field('HTTPBadRequest', 'Invalid input for dpd.timeout. Reason: ….'), 'dpdTimeout')
  assert.equal(field('SubnetIsNotConnectedToRouter', 'Subnet x'), 'subnetIds')
  assert.equal(field('IPsecSiteConnectionConflict', 'Conflicts …: the same local_id and peer_id with a different psk'), 'psk')
  assert.equal(field('OverQuota', 'Quota exceeded'), undefined)
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { attributeOf, changedValues, fieldsOf, rawValues, splitList, titleOf, type Field, type Resource } from './schema_form.ts'

const registry = JSON.parse(readFileSync(new URL('../generated/registry.json', import.meta.url), 'utf8')) as { resources: Record<string, Resource> }
const resource = (name: string) => registry.resources[name] as Resource
const field = (name: string, attribute: string, admin = false) => {
  const found = fieldsOf(resource(name), 'create', admin).find((item) => item.name === attribute)
  assert.ok(found, `${name} has a field for ${attribute}`)
  return found
}

test('the schema of an attribute decides its kind', () => {
  const kinds: [string, string, Field['kind']][] = [
    ['ipsec_site_connection', 'peer_address', 'text'],
    ['ipsec_site_connection', 'description', 'lines'],
    ['ipsec_site_connection', 'mtu', 'integer'],
    ['ipsec_site_connection', 'admin_state_up', 'boolean'],
    ['ipsec_site_connection', 'initiator', 'choice'],
    ['ipsec_site_connection', 'psk', 'secret'],
    ['ipsec_site_connection', 'peer_cidrs', 'list'],
    ['ipsec_site_connection', 'dpd', 'object'],
    ['ipsec_site_connection', 'vpnservice_id', 'reference'],
    ['ipsec_site_connection', 'peer_certificates', 'list'],
    ['certificate', 'private_key', 'pem'],
    ['trust_anchor', 'ca_bundle', 'pem'],
    ['subnet', 'allocation_pools', 'objects'],
    ['router', 'external_gateway_info', 'object'],
  ]
  for (const [name, attribute, kind] of kinds) assert.equal(field(name, attribute).kind, kind, attribute)
})

test('every id that can be set is a choice of names', () => {
  for (const item of Object.values(registry.resources)) {
    for (const part of fieldsOf(item, 'create', true).flatMap((each) => [each, ...each.fields])) {
      if (part.name.endsWith('_id') && !['peer_id', 'local_id', 'ppk_id'].includes(part.name)) assert.equal(part.kind, 'reference', part.name)
    }
  }
})

test('only what the mode and the user may set is offered', () => {
  const names = (mode: 'create' | 'update', admin: boolean) => fieldsOf(resource('network'), mode, admin).map((item) => item.name)
  assert.ok(names('create', true).includes('router:external'))
  assert.ok(!names('create', false).includes('shared'))
  assert.ok(!names('update', true).includes('router:external'))
  assert.deepEqual(field('ipsec_site_connection', 'dpd').fields.map((item) => item.name), ['action', 'interval', 'timeout'])
  assert.deepEqual(field('router', 'external_gateway_info').fields.map((item) => item.name), ['network_id'])
  assert.deepEqual(field('router', 'external_gateway_info', true).fields.map((item) => item.name).sort(), ['external_fixed_ips', 'network_id'])
})

test('a new object has what was entered, and no defaults', () => {
  const fields = fieldsOf(resource('ikepolicy'), 'create', false)
  const raw = rawValues(fields, 'create')
  assert.equal(raw.pfs, 'group14')
  assert.deepEqual(changedValues(fields, 'create', { ...raw, name: 'ike', crypto_profile: 'cnsa1' }), { name: 'ike', crypto_profile: 'cnsa1' })
  assert.deepEqual(changedValues(fields, 'create', { ...raw, lifetime: { units: 'seconds', value: '7200' } }), { lifetime: { units: 'seconds', value: 7200 } })
  assert.deepEqual(changedValues(fields, 'create', { ...raw, pfs: 'group14' }, { pfs: 'group14' }), { pfs: 'group14' })
})

test('an update has what differs', () => {
  const fields = fieldsOf(resource('ipsec_site_connection'), 'update', false)
  const object = {
    name: 'berlin', description: '', peer_address: '203.0.113.9', peer_id: '203.0.113.9', local_id: '', peer_cidrs: ['10.9.0.0/24'], psk: null,
    mtu: 1500, dpd: { action: 'hold', interval: 30, timeout: 120 }, admin_state_up: true, local_ep_group_id: null, peer_certificates: [], ppk: null,
  }
  const raw = rawValues(fields, 'update', object)
  assert.deepEqual(changedValues(fields, 'update', raw, object), {})
  const edited = { ...raw, psk: 'new key', peer_cidrs: '10.9.0.0/24, 10.8.0.0/24', mtu: '1400', dpd: { action: 'hold', interval: '10', timeout: '120' }, admin_state_up: false }
  assert.deepEqual(changedValues(fields, 'update', edited, object), {
    psk: 'new key', peer_cidrs: ['10.9.0.0/24', '10.8.0.0/24'], mtu: 1400, dpd: { action: 'hold', interval: 10, timeout: 120 }, admin_state_up: false,
  })
  assert.deepEqual(changedValues(fields, 'update', { ...raw, ppk: null }, object), { ppk: null })
})

test('none is another thing than left out', () => {
  const create = fieldsOf(resource('subnet'), 'create', false)
  const raw = { ...rawValues(create, 'create'), network_id: 'n', cidr: '10.1.0.0/24' }
  assert.deepEqual(changedValues(create, 'create', raw), { network_id: 'n', cidr: '10.1.0.0/24' })
  assert.deepEqual(changedValues(create, 'create', { ...raw, gateway_ip: null }), { network_id: 'n', cidr: '10.1.0.0/24', gateway_ip: null })
  const update = fieldsOf(resource('subnet'), 'update', false)
  const object = { name: '', gateway_ip: null, allocation_pools: [{ start: '10.1.0.2', end: '10.1.0.9' }] }
  const before = rawValues(update, 'update', object)
  assert.deepEqual(changedValues(update, 'update', before, object), {})
  assert.deepEqual(changedValues(update, 'update', { ...before, gateway_ip: '10.1.0.1' }, object), { gateway_ip: '10.1.0.1' })
})

test('a gateway without a network is none', () => {
  const fields = fieldsOf(resource('router'), 'update', false)
  const object = { name: 'left', external_gateway_info: { network_id: 'n', enable_snat: false, external_fixed_ips: [] } }
  const raw = rawValues(fields, 'update', object)
  assert.deepEqual(changedValues(fields, 'update', raw, object), {})
  assert.deepEqual(changedValues(fields, 'update', { ...raw, external_gateway_info: { network_id: '' } }, object), { external_gateway_info: null })
})

test('the members of an endpoint group are what its type says', () => {
  const endpoints = (type: string) => fieldsOf(resource('endpoint_group'), 'create', false, { type }).find((item) => item.name === 'endpoints')
  assert.equal(endpoints('subnet')?.kind, 'references')
  assert.equal(endpoints('cidr')?.kind, 'list')
})

test('lists have one text a line, a word or a block', () => {
  assert.deepEqual(splitList(' a b\n\nc ', 'line'), ['a b', 'c'])
  assert.deepEqual(splitList('10.1.0.0/24,10.2.0.0/24\nfd00::/64', 'word'), ['10.1.0.0/24', '10.2.0.0/24', 'fd00::/64'])
  const block = '-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n'
  assert.deepEqual(splitList(`${block}\n${block}`, 'pem'), [block, block])
  assert.deepEqual(splitList('', 'pem'), [])
})

test('a message of the API is shown beside the attribute that it names', () => {
  assert.equal(attributeOf("Invalid input for peer_address. Reason: '1' is no address.", ['peer_address']), 'peer_address')
  assert.equal(attributeOf("Failed to parse request. Required attribute 'type' not specified", ['type']), 'type')
  assert.equal(attributeOf("Invalid input for operation: 'x' is not an integer.", ['mtu']), '')
  assert.equal(attributeOf('Invalid input for psk. Reason: no.', []), '')
})

test('labels spell what they abbreviate', () => {
  assert.equal(titleOf('peer_cidrs'), 'Peer CIDRs')
  assert.equal(titleOf('vpnservice_id'), 'VPN service')
  assert.equal(titleOf('phase1_negotiation_mode'), 'Phase 1 negotiation mode')
  assert.equal(titleOf('router:external'), 'Router external')
  assert.equal(titleOf('peer_id'), 'Peer ID')
})

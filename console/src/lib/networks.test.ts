import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressKey, commonNetwork, isNetwork, networkContains } from './networks.ts'

test('networks of both versions contain their addresses', () => {
  assert.ok(networkContains('203.0.113.0/24', '203.0.113.9'))
  assert.ok(!networkContains('203.0.113.0/24', '203.0.114.9'))
  assert.ok(networkContains('2001:db8::/32', '2001:DB8:1::9'))
  assert.ok(!networkContains('2001:db8::/32', '203.0.113.9'))
  assert.ok(networkContains('0.0.0.0/0', '1.2.3.4'))
})

test('what is no network is none', () => {
  for (const text of ['203.0.113.0', '203.0.113.0/33', '1.2.3.400/8', '1::2::3/64', '2001:db8::/129', 'a/b', '1.2.3.0/8/9']) assert.ok(!isNetwork(text), text)
})

test('a name is in no network', () => {
  assert.ok(!networkContains('0.0.0.0/0', 'vpn.example.org'))
})

test('addresses are sorted by their numbers', () => {
  const addresses = ['vpn.example.org', '203.0.113.10', '2001:db8::2', '203.0.113.9']
  assert.deepEqual(addresses.sort((a, b) => (addressKey(a) < addressKey(b) ? -1 : 1)), ['203.0.113.9', '203.0.113.10', '2001:db8::2', 'vpn.example.org'])
})

test('addresses may have a network in common', () => {
  assert.equal(commonNetwork(['203.0.113.9', '203.0.113.200']), '203.0.113.0/24')
  assert.equal(commonNetwork(['203.0.1.9', '203.0.113.200']), '203.0.0.0/16')
  assert.equal(commonNetwork(['203.0.113.9', '198.51.100.1']), null)
  assert.equal(commonNetwork(['203.0.113.9', '203.0.113.9']), null)
  assert.equal(commonNetwork(['203.0.113.9', 'vpn.example.org']), null)
  assert.equal(commonNetwork(['2001:db8:1::1', '2001:db8:1:2::1']), '2001:db8:1::/48')
  assert.equal(commonNetwork([]), null)
})

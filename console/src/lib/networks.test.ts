import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressKey, addressText, canonicalCidrs, cidrFault, commonNetwork, contains, hostFault, isNetwork, networkContains, overlaps, parseAddress, parseNetwork, words, type Network } from './networks.ts'

const net = (text: string) => parseNetwork(text) as Network
const canonical = (text: string) => {
  const address = parseAddress(text)
  return address && addressText(address)
}

test('addresses have one text', () => {
  assert.equal(canonical('198.51.100.7'), '198.51.100.7')
  assert.equal(canonical('2001:DB8:0:0:0:0:0:1'), '2001:db8::1')
  assert.equal(canonical('2001:db8:0:0:1:0:0:1'), '2001:db8::1:0:0:1')
  assert.equal(canonical('2001:db8:0:1:1:1:1:1'), '2001:db8:0:1:1:1:1:1')
  assert.equal(canonical('1:0:0:2:0:0:0:3'), '1:0:0:2::3')
  assert.equal(canonical('::'), '::')
  assert.equal(canonical('::1'), '::1')
  assert.equal(canonical('fd00::'), 'fd00::')
  assert.equal(canonical('64:ff9b::192.0.2.33'), '64:ff9b::c000:221')
})

test('what is no address is none', () => {
  for (const text of ['', '1.2.3', '1.2.3.4.5', '01.2.3.4', '256.1.1.1', '1.2.3.4/24', ':', ':::', '1::2::3', '1:2:3:4:5:6:7', 'fe80::1%eth0', '12345::', '::1.2.3']) {
    assert.equal(parseAddress(text), null, text)
  }
})

test('networks contain and overlap as the API sees it', () => {
  assert.ok(contains(net('10.0.0.0/8'), net('10.2.0.0/24')))
  assert.ok(!contains(net('10.2.0.0/24'), net('10.0.0.0/8')))
  assert.ok(overlaps(net('10.2.0.0/24'), net('10.0.0.0/8')))
  assert.ok(!overlaps(net('10.2.0.0/24'), net('10.2.1.0/24')))
  assert.ok(contains(net('0.0.0.0/0'), net('10.2.0.0/24')))
  assert.ok(!overlaps(net('0.0.0.0/0'), net('::/0')))
  assert.ok(overlaps(net('fd00::/64'), net('fd00::/56')))
})

test('the first fault of a list is named', () => {
  assert.equal(cidrFault(words('10.2.0.0/24, fd00:2::/64\n10.3.0.0/16')), null)
  assert.deepEqual(cidrFault(['10.2.0.0/24', '10.2.0.5/24']), { kind: 'bits', text: '10.2.0.5/24', network: '10.2.0.0/24' })
  assert.deepEqual(cidrFault(['10.2.0.0']), { kind: 'address', text: '10.2.0.0' })
  assert.equal(cidrFault(['10.2.0.0/33'])?.kind, 'form')
  assert.equal(cidrFault(['10.2.0.0/024'])?.kind, 'form')
  assert.equal(cidrFault(['::ffff:10.0.0.0/104'])?.kind, 'mapped')
  assert.equal(cidrFault(['fd00:2::/64', 'FD00:2:0::/64'])?.kind, 'twice')
  assert.deepEqual(canonicalCidrs(['FD00:2:0::/64', 'x']), ['fd00:2::/64', 'x'])
})

test('peers are addresses that a peer can have, or names', () => {
  for (const text of ['198.51.100.7', '2001:db8::7', 'vpn.example.org', 'vpn.example.org.', 'gw-1']) assert.equal(hostFault(text), null, text)
  for (const text of ['127.0.0.1', '0.0.0.0', '169.254.1.1', '224.0.0.1', '255.255.255.255', '::1', '::', 'fe80::1', 'ff02::1', '::ffff:1.2.3.4', 'localhost'])
    assert.equal(hostFault(text), 'nobody', text)
  for (const text of ['', 'a b', '-x.org', '0xcb007109', '3405803785', '198.51.100', 'ex_ample.org', 'a..b']) assert.equal(hostFault(text), 'form', text)
  assert.equal(hostFault('198.51.100.7/32'), 'prefix')
})

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

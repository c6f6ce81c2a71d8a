import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { choiceFor, takesKey, versionFor, type Device, type Profile } from './devices.ts'
import { newKey } from './keys.ts'

const registry = JSON.parse(readFileSync(new URL('../generated/registry.json', import.meta.url), 'utf8'))
const device = (name: string): Device => registry.peerFormats.find((item: { name: string }) => item.name === name).device
const RECOMMENDED: Profile = {
  name: 'recommended',
  description: '',
  source: '',
  ikepolicy: { ike_version: 'v2', encryption_algorithm: 'aes-256-gcm-16', auth_algorithm: 'sha256', pfs: 'group19' },
  ipsecpolicy: { transform_protocol: 'esp', encryption_algorithm: 'aes-256-gcm-16', auth_algorithm: 'sha256', pfs: 'group19' },
  weak: [],
}

test('a device that can do all of a profile changes nothing', () => {
  const choice = choiceFor(RECOMMENDED, 'v2', device('fortigate'))
  assert.deepEqual(choice.changes, [])
  assert.deepEqual(choice.ike, { ...RECOMMENDED.ikepolicy, lifetime: { units: 'seconds', value: 3600 } })
})

test('what a device cannot do is replaced, and named', () => {
  const choice = choiceFor(RECOMMENDED, 'v2', device('palo-alto'))
  assert.deepEqual(choice.changes, [{ policy: 'ike', attribute: 'encryption_algorithm', from: 'aes-256-gcm-16', to: 'aes-256' }])
  assert.equal(choice.ipsec.encryption_algorithm, 'aes-256-gcm-16')
})

test('lifetimes that a device cannot change are its own', () => {
  const choice = choiceFor(RECOMMENDED, 'v2', device('gcp'))
  assert.equal(choice.ike.lifetime.value, 36_000)
  assert.equal(choice.ipsec.lifetime.value, 10_800)
})

test('IKEv1 has no combined algorithm in phase 1', () => {
  const choice = choiceFor(RECOMMENDED, 'v1', device('libreswan'))
  assert.equal(choice.ike.encryption_algorithm, 'aes-256')
  assert.equal(choice.ipsec.pfs, 'group14')
  assert.ok(choice.changes.some((change) => change.attribute === 'ike_version'))
})

test('for every device each version has algorithms that it can do', () => {
  for (const { device } of registry.peerFormats as { device: Device }[]) {
    assert.ok(device.versions.includes(versionFor(RECOMMENDED, device)))
    for (const version of device.versions) {
      const { ike, ipsec } = choiceFor(RECOMMENDED, version, device)
      for (const attribute of ['encryption_algorithm', 'auth_algorithm', 'pfs'] as const) {
        assert.ok(device.ike[attribute].includes(ike[attribute]))
        assert.ok(device.ipsec[attribute].includes(ipsec[attribute]))
      }
      if (device.oneGroup && version === 'v2') assert.equal(ike.pfs, ipsec.pfs)
    }
  }
})

test('every device takes a generated key', () => {
  for (let count = 0; count < 50; count++) {
    const key = newKey()
    for (const { name, device } of registry.peerFormats as { name: string; device: Device }[]) assert.ok(takesKey(device, key), name)
  }
  assert.ok(!takesKey(device('aws'), '0short-no'))
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { weakChoices } from './policies.ts'

const weak = ['3des', 'group2', 'group5', 'sha1']
const aead = ['aes-256-gcm-16']

test('a weak algorithm is found where the policy uses it', () => {
  assert.deepEqual(weakChoices({ encryption_algorithm: '3des', auth_algorithm: 'sha1', pfs: 'group5' }, weak, aead), ['encryption_algorithm', 'auth_algorithm', 'pfs'])
  assert.deepEqual(weakChoices({ transform_protocol: 'esp', encryption_algorithm: 'aes-256-gcm-16', auth_algorithm: 'sha1', pfs: 'group14' }, weak, aead), [])
  assert.deepEqual(weakChoices({ transform_protocol: 'ah', encryption_algorithm: '3des', auth_algorithm: 'sha256', pfs: 'group14' }, weak, aead), [])
})

test('aggressive mode is weak with IKEv1', () => {
  const policy = { encryption_algorithm: 'aes-128', auth_algorithm: 'sha256', pfs: 'group14', phase1_negotiation_mode: 'aggressive' }
  assert.deepEqual(weakChoices({ ...policy, ike_version: 'v1' }, weak, aead), ['phase1_negotiation_mode'])
  assert.deepEqual(weakChoices({ ...policy, ike_version: 'v2' }, weak, aead), [])
})

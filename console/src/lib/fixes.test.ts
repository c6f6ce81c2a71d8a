import assert from 'node:assert/strict'
import { test } from 'node:test'
import { remedies } from './fixes.ts'

const FIELDS = ['name', 'peer_address', 'peer_id', 'local_id', 'psk', 'mtu', 'admin_state_up']
const connection = { revision_number: 6, admin_state_up: true }

function of(text: string, last_good_revision: number | null = null, severity = 'error') {
  const fix = [{ who: 'us', text }, { who: 'peer', text: 'set peer_address and the IKE policy' }]
  return { cause: { severity, fix }, last_good_revision }
}

test('a sentence leads to the attributes that it names, each once', () => {
  assert.deepEqual(remedies(of('compare psk, local_id and peer_id with what peer_id is there'), connection, FIELDS), [
    { kind: 'key' },
    { kind: 'edit', field: 'local_id' },
    { kind: 'edit', field: 'peer_id' },
  ])
})

test('an attribute of a policy leads to the policy', () => {
  const text = "use an IKE policy with the peer's algorithms: the encryption algorithm differs"
  assert.deepEqual(remedies(of(text), connection, FIELDS), [{ kind: 'policy', of: 'ike' }])
})

test('only a disabled connection is enabled', () => {
  const text = 'set admin_state_up of the connection, its service and its router to true'
  assert.deepEqual(remedies(of(text), connection, FIELDS), [])
  assert.deepEqual(remedies(of(text), { ...connection, admin_state_up: false }, FIELDS), [{ kind: 'enable' }])
})

test('an earlier revision that was up is offered while the present one is not', () => {
  assert.deepEqual(remedies(of('see the log', 4), connection, FIELDS), [{ kind: 'rollback', revision: 4 }])
  assert.deepEqual(remedies(of('see the log', 6), connection, FIELDS), [])
  assert.deepEqual(remedies(of('', 4, 'info'), connection, FIELDS), [])
  assert.deepEqual(remedies({ cause: null, last_good_revision: 4 }, connection, FIELDS), [])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { offers, type Configured, type Observed } from './offers.ts'

const configured: Configured = {
  connection: { local_id: '', peer_id: '203.0.113.9', auth_mode: 'psk', peer_cidrs: ['10.9.0.0/24'] },
  ike: { ike_version: 'v2', encryption_algorithm: 'aes-256', auth_algorithm: 'sha256', pfs: 'group14', phase1_negotiation_mode: 'main' },
  ipsec: { transform_protocol: 'esp', encapsulation_mode: 'tunnel', encryption_algorithm: 'aes-256', auth_algorithm: 'sha256', pfs: 'group14' },
  external: '192.0.2.10',
  local: ['10.1.0.0/24'],
}

function observed(states: Record<string, string>, cause: Partial<NonNullable<Observed['cause']>> | null = null): Observed {
  const layers = Object.entries(states).map(([name, state]) => ({ name, state, text: '', code: '' })) as unknown as Observed['layers']
  return { cause: cause && { code: '', layer: '', ours: '', peer: '', ...cause }, layers, live: null }
}

const agreements = (rows: ReturnType<typeof offers>) => Object.fromEntries(rows.map((row) => [row.key, row.agreement]))

test('each row has the values of this end', () => {
  const rows = offers(configured, observed({}))
  assert.deepEqual(
    rows.map((row) => row.ours),
    [
      'IKEv2 aes-256 / sha256 / group14',
      '192.0.2.10',
      '203.0.113.9',
      'psk',
      'esp tunnel aes-256 / sha256 / group14',
      '10.1.0.0/24 ↔ 10.9.0.0/24',
    ],
  )
})

test('a wrong key leaves what comes after it unreached', () => {
  const rows = offers(configured, observed({ ike: 'ok', authentication: 'failed', child: 'unknown' }, { code: 'PSK_MISMATCH' }))
  assert.deepEqual(agreements(rows), {
    ike: 'same', ourId: 'unknown', peerId: 'unknown', auth: 'differs', child: 'unreached', networks: 'unreached',
  })
})

test('values that differ are those of the cause', () => {
  const cause = { code: 'IKE_PROPOSAL_MISMATCH_DH', ours: 'aes-256, sha256, group14', peer: 'aes-256, sha256, group19' }
  const [ike] = offers(configured, observed({ ike: 'failed' }, cause))
  assert.deepEqual(ike, { key: 'ike', ours: cause.ours, peers: cause.peer, agreement: 'differs' })
})

test('narrowed networks leave the algorithms agreed', () => {
  const rows = offers(configured, observed({ ike: 'ok', authentication: 'ok', child: 'waiting' }, { code: 'SELECTORS_NARROWED', peer: '10.9.0.0/25' }))
  assert.equal(agreements(rows).child, 'same')
  assert.equal(agreements(rows).networks, 'differs')
})

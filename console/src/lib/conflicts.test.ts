import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changedSince } from './conflicts.ts'

test('what has changed is told with its values, and a secret without them', () => {
  const before = { name: 'a', mtu: 1500, psk: 'one', peer_cidrs: ['10.2.0.0/24'], status: 'ACTIVE' }
  const now = { ...before, name: '', psk: 'two', peer_cidrs: ['10.3.0.0/24'], status: 'DOWN' }
  assert.deepEqual(changedSince(before, now, ['name', 'mtu', 'psk', 'peer_cidrs'], ['psk']), [
    { name: 'name', before: 'a', now: '–' },
    { name: 'psk', before: '', now: '' },
    { name: 'peer_cidrs', before: '["10.2.0.0/24"]', now: '["10.3.0.0/24"]' },
  ])
})

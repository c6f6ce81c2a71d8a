import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Connection } from './connections.svelte.ts'
import { parseFilter, testOf } from './filter.ts'
import { countStates, rowOf } from './rows.ts'
import { wrongByCause } from './wrong.ts'

function row(id: string, status: string, status_code = '', peer_address = '203.0.113.1', project_id = 'p') {
  const connection = { id, name: id, status, status_code, peer_address, project_id, admin_state_up: true, status_reason: '', description: '' }
  return rowOf(connection as Connection, project_id, '')
}

const rows = [
  row('a', 'DOWN', 'PEER_NO_REPLY', '198.51.100.1', 'p'),
  row('b', 'DOWN', 'PEER_NO_REPLY', '198.51.100.2', 'q'),
  row('c', 'ERROR', 'PSK_MISMATCH'),
  row('d', 'ACTIVE'),
  row('e', 'ACTIVE', 'FLAPPING'),
  row('f', 'DOWN'),
  row('g', 'PENDING_CREATE'),
]

test('what is wrong is grouped by cause, the worst first', () => {
  const groups = wrongByCause(rows)
  assert.deepEqual(groups.map((group) => [group.cause, group.state, group.rows.length, group.projects]), [
    ['PSK_MISMATCH', 'error', 1, 1],
    ['PEER_NO_REPLY', 'down', 2, 2],
    ['', 'down', 1, 1],
    ['FLAPPING', 'degraded', 1, 1],
  ])
  assert.equal(groups[1]?.network, '198.51.100.0/24')
})

test('the filter of a group finds its connections and no other ones', () => {
  for (const group of wrongByCause(rows)) {
    const found = rows.filter((item) => testOf(parseFilter(group.filter))(item.fields))
    assert.deepEqual(found, group.rows, group.filter)
  }
})

test('states are counted', () => {
  assert.deepEqual(countStates(rows), { error: 1, down: 3, degraded: 1, waiting: 1, disabled: 0, up: 1 })
})

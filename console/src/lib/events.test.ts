import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventText, eventTone, kindOf } from './events.ts'

const event = { kind: 'up', status_code: '', reason: '', node: '', revision: null } as const
const edit = { object_id: '', fields: ['psk'], user_id: '', user_name: 'ana', user_project_id: '', request_id: '' }

test('a reason of the API goes before the meaning of the kind', () => {
  assert.equal(eventText({ ...event, kind: 'down', reason: 'The peer has deleted the SA' }), 'The peer has deleted the SA')
  assert.equal(eventText({ ...event, kind: 'dpd' }), 'dead peer detection has declared the peer dead')
})

test('an edit says what was done, and to what if not to the connection itself', () => {
  assert.equal(eventText({ ...event, kind: 'revision', revision: { ...edit, action: 'update', resource: 'connection' } }), 'changed')
  assert.equal(eventText({ ...event, kind: 'revision', revision: { ...edit, action: 'update', resource: 'endpoint_group' } }), 'endpoint group changed')
  assert.equal(eventText({ ...event, kind: 'revision', revision: { ...edit, action: 'rotate_all', resource: 'connection' } }), 'rotate all')
})

test('a move without a node waits for one', () => {
  assert.equal(eventText({ ...event, kind: 'move', node: 'n-1' }), 'the gateway is on node n-1')
  assert.equal(eventText({ ...event, kind: 'move' }), 'the gateway waits for a node')
})

test('a notice without a cause is good news', () => {
  assert.equal(eventTone({ kind: 'notice', status_code: '' }), 'good')
  assert.equal(eventTone({ kind: 'notice', status_code: 'FLAPPING' }), 'warn')
})

test('a kind that a newer API has is shown as it is', () => {
  assert.equal(kindOf({ kind: 'eclipse' }), 'eclipse')
})

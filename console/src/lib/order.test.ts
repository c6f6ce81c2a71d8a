import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inOrder, sortedBy } from './order.ts'

const rows = [{ id: 'c', n: 1 }, { id: 'a', n: 3 }, { id: 'b', n: 1 }]

test('rows with the same key keep their order', () => {
  assert.deepEqual(sortedBy(rows, (row) => row.n).map((row) => row.id), ['c', 'b', 'a'])
  assert.deepEqual(sortedBy(rows, (row) => row.n, true).map((row) => row.id), ['a', 'c', 'b'])
})

test('an order is kept, without what is gone, and with what is new at its end', () => {
  assert.deepEqual(inOrder(rows, ['b', 'gone', 'a']).map((row) => row.id), ['b', 'a', 'c'])
})

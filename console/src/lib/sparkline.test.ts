import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sparkline } from './sparkline.ts'

test('values reach from the bottom to the top', () => {
  assert.equal(sparkline([0, 50, 100], 100, 20), 'M0 20L50 10L100 0')
})

test('a gap interrupts the line', () => {
  assert.equal(sparkline([10, 10, null, 10, 10], 40, 10), 'M0 0L10 0M30 0L40 0')
})

test('a quiet line stays flat, and too few values are none', () => {
  assert.equal(sparkline([1, 1], 10, 10, 1000), 'M0 10L10 10')
  assert.equal(sparkline([1, null, 1], 10, 10), '')
  assert.equal(sparkline([], 10, 10), '')
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { untilWords } from './expiry.ts'

const HOUR = 3_600_000

test('an end is told in its largest unit, rounded down', () => {
  assert.equal(untilWords(90_000, 0), 'in 1 minute')
  assert.equal(untilWords(47 * HOUR, 0), 'in 47 hours')
  assert.equal(untilWords(30 * 24 * HOUR - 1, 0), 'in 29 days')
  assert.equal(untilWords(365 * 24 * HOUR, 0), 'in 11 months')
  assert.equal(untilWords(3653 * 24 * HOUR, 0), 'in 10 years')
  assert.equal(untilWords(0, 25 * HOUR), '25 hours ago')
})

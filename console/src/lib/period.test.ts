import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sinceOf, timeIn } from './period.ts'

const now = Date.parse('2026-11-29T12:00:00Z')

test('a period ends now', () => {
  assert.equal(sinceOf('1h', now), '2026-11-29T11:00:00.000Z')
  assert.equal(sinceOf('7d', now), '2026-11-22T12:00:00.000Z')
})

test('a time is one, and other text is none', () => {
  assert.equal(sinceOf('2026-11-29T10:00:00Z', now), '2026-11-29T10:00:00.000Z')
  for (const text of ['', 'yesterday', '1x', 'h']) assert.equal(sinceOf(text, now), '')
  assert.equal(timeIn(''), '')
})

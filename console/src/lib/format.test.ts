import assert from 'node:assert/strict'
import { test } from 'node:test'
import { age, bitRate, bytes, timeOf } from './format.ts'

test('ages have one unit', () => {
  assert.equal(age(-5), '0 s')
  assert.equal(age(12_000), '12 s')
  assert.equal(age(240_000), '4 min')
  assert.equal(age(7_200_000), '2 h')
  assert.equal(age(12 * 86_400_000), '12 d')
})

test('rates and sizes are scaled by 1000', () => {
  assert.equal(bitRate(0), '0 b/s')
  assert.equal(bitRate(4_100_000), '4.1 Mb/s')
  assert.equal(bytes(999), '999 B')
  assert.equal(bytes(123_456), '123 kB')
})

test('a time without a zone is UTC', () => {
  assert.equal(timeOf('2026-11-29T10:00:00'), timeOf('2026-11-29T10:00:00Z'))
  assert.equal(timeOf('2026-11-29T10:00:00+01:00'), timeOf('2026-11-29T09:00:00Z'))
})

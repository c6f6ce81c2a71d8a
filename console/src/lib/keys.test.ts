import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKey } from './keys.ts'

test('a new key has 256 bits', () => {
  const keys = new Set(Array.from({ length: 100 }, newKey))
  assert.equal(keys.size, 100)
  for (const key of keys) assert.match(key, /^[A-Za-z][A-Za-z0-9]{42}$/)
})

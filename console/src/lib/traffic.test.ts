import assert from 'node:assert/strict'
import { test } from 'node:test'
import { merged, minutes, rates, type Traffic } from './traffic.ts'

function traffic(at: number[], in_bytes: (number | null)[], rtt_ms: (number | null)[] = at.map(() => null)): Traffic {
  const zeros = at.map(() => 0)
  return { connection_id: 'c', name: '', node: 'n', fault: '', at, seconds: at.map(() => 10), in_bytes, out_bytes: zeros, in_packets: zeros, out_packets: zeros, rtt_ms }
}

test('rates are bits per second, and gaps stay gaps', () => {
  assert.deepEqual(rates([1000, null, 5], [10, 10, 0]), [800, null, null])
})

test('samples that were there already are not there twice', () => {
  const all = merged(traffic([10, 20], [1, 2]), traffic([20, 30], [2, 3]))
  assert.deepEqual(all.at, [10, 20, 30])
  assert.deepEqual(all.in_bytes, [1, 2, 3])
})

test('an answer without samples keeps those that are there', () => {
  assert.deepEqual(merged(traffic([10, 20], [1, 2]), traffic([], [])).at, [10, 20])
})

test('what is older than an hour goes', () => {
  assert.deepEqual(merged(traffic([10, 3000], [1, 2]), traffic([3620], [3])).at, [3000, 3620])
})

test('a minute has the means of its samples that are known', () => {
  const found = minutes(traffic([60, 70, 120], [1000, null, 2000], [10, 20, null]))
  assert.deepEqual(found, [
    { at: 120_000, in_rate: 1600, out_rate: 0, rtt_ms: null },
    { at: 60_000, in_rate: 800, out_rate: 0, rtt_ms: 15 },
  ])
})

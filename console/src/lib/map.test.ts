import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Connection } from './connections.svelte.ts'
import { parseFilter, testOf } from './filter.ts'
import { draw, gatewaysOf, shortened, tunnelsOf } from './map.ts'
import { rowOf } from './rows.ts'

const services = new Map(
  ['left', 'right'].map((name, index) => [name, { id: name, name, router_id: `r-${name}`, external_v4_ip: `198.51.100.${index + 2}`, external_v6_ip: null }]),
)

function row(id: string, service: string, peer_address: string, status = 'ACTIVE') {
  const connection = { id, name: id, status, status_code: '', status_reason: '', description: '', admin_state_up: true, peer_address, vpnservice_id: service }
  return rowOf(connection as Connection, 'p', service)
}

const rows = [row('b', 'left', '203.0.113.9'), row('a', 'left', '198.51.100.3', 'DOWN'), row('c', 'right', '198.51.100.2'), row('d', 'left', '203.0.113.9')]

function overlap(a: { x: number; y: number; width: number; height: number }, b: typeof a): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

test('connections are grouped by the router of their service', () => {
  assert.deepEqual(gatewaysOf(rows, services).map((item) => [item.id, item.rows.length]), [['r-left', 3], ['r-right', 1]])
  assert.deepEqual(gatewaysOf([row('x', 'unknown', '203.0.113.1')], services).map((item) => item.name), ['unknown'])
})

test('the order of the connections does not matter', () => {
  assert.deepEqual(draw(gatewaysOf(rows, services), 900).lines.map((line) => line.path), draw(gatewaysOf([...rows].reverse(), services), 900).lines.map((line) => line.path))
})

test('tunnels to one peer end in one box, and a peer may be a gateway of ours', () => {
  const { peers, lines } = draw(gatewaysOf(rows, services), 900)
  assert.deepEqual(peers.map((peer) => [peer.title, peer.gateway]), [['right', 'r-right'], ['203.0.113.9', ''], ['left', 'r-left']])
  assert.equal(lines.length, 4)
})

for (const width of [340, 900]) {
  test(`nothing overlaps, with 5 or 200 tunnels, ${width} pixels wide`, () => {
    for (const count of [5, 200]) {
      const many = Array.from({ length: count }, (_, index) => row(`t${index}`, index % 3 ? 'left' : 'right', `203.0.${index >> 6}.${index % 64}`, index % 7 ? 'ACTIVE' : 'DOWN'))
      const { gateways, peers, lines, height } = draw(gatewaysOf(many, services), width)
      const boxes = [...gateways, ...peers]
      assert.equal(lines.length, count)
      boxes.forEach((box, index) => {
        assert.ok(box.x >= 0 && box.x + box.width <= width && box.y >= 0 && box.y + box.height <= height)
        for (const other of boxes.slice(index + 1)) assert.ok(!overlap(box, other))
      })
      const places = lines.map((line) => line.y).sort((a, b) => a - b)
      for (let index = 1; index < places.length; index++) assert.ok((places[index] as number) - (places[index - 1] as number) >= 18)
    }
  })
}

test('of many tunnels those that are up are drawn as one, and its filter finds them', () => {
  const many = Array.from({ length: 900 }, (_, index) => row(`t${index}`, index % 2 ? 'left' : 'right', `203.0.113.${index % 200}`, index % 90 ? 'ACTIVE' : 'DOWN'))
  const gateways = gatewaysOf(many, services)
  assert.ok(draw(gateways, 900).lines.length <= 12)
  const bundle = tunnelsOf(gateways[0] as (typeof gateways)[0], true).at(-1)
  assert.equal(many.filter((item) => testOf(parseFilter(bundle?.filter ?? ''))(item.fields)).length, bundle?.count)
})

test('long names are shortened', () => {
  assert.equal(shortened('abc', 100), 'abc')
  assert.equal(shortened('a'.repeat(255), 76), `${'a'.repeat(9)}…`)
})

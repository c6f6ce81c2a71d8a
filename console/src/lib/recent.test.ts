import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Event } from './events.ts'
import { recent } from './recent.ts'

let number = 0
function event(kind: Event['kind'], connection_id: string, second: number, request_id = ''): Event {
  number += 1
  const revision = kind === 'revision' ? { action: 'update', request_id } : null
  return { id: String(number), kind, connection_id, at: new Date(second * 1000).toISOString(), revision } as Event
}

test('a tunnel that went down after an edit and stays so is lost by it', () => {
  const events = [
    event('revision', 'a', 0, 'r1'),
    event('revision', 'b', 0, 'r1'),
    event('down', 'a', 5),
    event('down', 'b', 5),
    event('up', 'b', 9),
    event('down', 'c', 10),
    event('revision', 'd', 20, 'r2'),
    event('down', 'd', 200),
  ].reverse()
  assert.deepEqual(recent(events), { edits: 2, down: 4, up: 1, lost: ['a'] })
})

test('nothing has happened', () => {
  assert.deepEqual(recent([]), { edits: 0, down: 0, up: 0, lost: [] })
})

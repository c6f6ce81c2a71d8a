/** Events of the timeline in words. */

import type { components } from '../generated/api'
import { t } from './strings.ts'

export type Event = components['schemas']['Event']
export type EventKind = Event['kind']

/** The kinds, in the order of docs/timeline.md. */
export const EVENT_KINDS = Object.keys(t.events.kinds) as EventKind[]

export type Tone = 'good' | 'bad' | 'warn' | 'plain'

export const EVENT_SHAPES: Record<Tone, string> = { good: '▲', bad: '▼', warn: '~', plain: '·' }

const TONES: Partial<Record<string, Tone>> = { up: 'good', down: 'bad', cause: 'bad', dpd: 'bad', notice: 'warn', lost: 'warn' }

/** How an event is meant. A notice without a cause says that all is as desired again. */
export function eventTone(event: Pick<Event, 'kind' | 'status_code'>): Tone {
  if (event.kind === 'notice' && !event.status_code) return 'good'
  return TONES[event.kind] ?? 'plain'
}

/** The kind of an event in a word; one that a newer API has, as it is. */
export function kindOf(event: { kind: string }): string {
  return (t.events.kinds as Record<string, string>)[event.kind] ?? event.kind
}

/** What happened, in a sentence, without the author and the code. */
export function eventText(event: Pick<Event, 'kind' | 'status_code' | 'reason' | 'node' | 'revision'>): string {
  if (event.revision) {
    const { action, resource } = event.revision
    const done = (t.events.actions as Record<string, string>)[action] ?? action.replaceAll('_', ' ')
    return resource === 'connection' ? done : `${resource.replaceAll('_', ' ')} ${done}`
  }
  if (event.kind === 'move') return event.node ? t.events.movedTo(event.node) : t.events.waitsForNode
  if (event.reason) return event.reason
  if (event.kind === 'notice' && !event.status_code) return t.events.asDesired
  return (t.events.meanings as Record<string, string>)[event.kind] ?? ''
}

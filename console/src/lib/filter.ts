/**
 * The filter language of lists of connections. Pure.
 *
 *     down project:acme cause:PSK* peer:203.0.113.0/24 -name:test "main office"
 *
 * Terms are separated by spaces, and all have to hold; several terms of one key are alternatives. `-` before a term negates it.
 * A value in quotes is the whole value; one with `*` a pattern of the whole value; of another one, it depends on the key.
 */

import { isNetwork, networkContains } from './networks.ts'
import { STATES, type State } from './state.ts'

/** What a connection is filtered by. `text`: what else free text is looked for in, such as the reason. */
export interface FilterFields {
  state: State
  name: string
  project: string
  peer: string
  cause: string
  service: string
  id: string
  text: string
}

export type FilterKey = Exclude<keyof FilterFields, 'text'>

/** The keys, in the order in which they are offered. */
export const FILTER_KEYS: readonly FilterKey[] = ['state', 'name', 'project', 'peer', 'cause', 'service', 'id']
const ALIASES: Record<string, FilterKey> = { status: 'state', code: 'cause', status_code: 'cause', peer_address: 'peer', project_id: 'project' }
/** Keys of which a value without `*` and quotes is looked for anywhere; of the others it is the whole value. */
const IN_PART = new Set<FilterKey>(['name', 'project', 'service', 'id'])

export interface Term {
  key: FilterKey | 'text'
  negated: boolean
  value: string
  test: (value: string) => boolean
}

/** What is wrong with a filter. `word`: as it was typed; `hint`: what may be meant, or what there is. */
export interface Problem {
  kind: 'key' | 'value' | 'quote' | 'state' | 'network' | 'minus'
  word: string
  hint: string
}

export interface Filter {
  terms: Term[]
  problems: Problem[]
}

interface Word {
  at: number
  end: number
  negated: boolean
  /** Empty: free text. */
  key: string
  value: string
  quoted: boolean
  open: boolean
}

const WORD = /(-?)(?:([A-Za-z_]+):)?(?:"((?:[^"\\]|\\.)*)("?)|(\S*))/y

function words(text: string): Word[] {
  const found: Word[] = []
  for (let at = 0; at < text.length; ) {
    if (/\s/.test(text[at] as string)) {
      at += 1
      continue
    }
    WORD.lastIndex = at
    const [whole, minus, key, quoted, closing, plain] = WORD.exec(text) as RegExpExecArray
    const end = at + whole.length
    const isAddress = key !== undefined && plain !== undefined && /^[0-9a-f.:*]*$/i.test(`${key}${plain}`) && (plain.includes(':') || plain === '')
    found.push({
      at,
      end,
      negated: minus === '-',
      key: isAddress && key && !known(key) ? '' : (key ?? ''),
      value: quoted !== undefined ? quoted.replace(/\\(.)/g, '$1') : isAddress && key && !known(key) ? `${key}:${plain}` : (plain ?? ''),
      quoted: quoted !== undefined,
      open: quoted !== undefined && closing === '',
    })
    at = end
  }
  return found
}

function known(key: string): FilterKey | undefined {
  const name = key.toLowerCase()
  return FILTER_KEYS.find((item) => item === name) ?? ALIASES[name]
}

/** The filter of a text. What is wrong in it is left out, and told. */
export function parseFilter(text: string): Filter {
  const filter: Filter = { terms: [], problems: [] }
  for (const word of words(text)) {
    const found = term(word)
    if ('kind' in found) filter.problems.push({ ...found, word: text.slice(word.at, word.end) })
    else filter.terms.push(found)
  }
  return filter
}

function term(word: Word): Term | Omit<Problem, 'word'> {
  if (word.open) return { kind: 'quote', hint: '' }
  const { negated, value, quoted } = word
  if (word.key) {
    const key = known(word.key)
    if (!key) return { kind: 'key', hint: nearest(word.key.toLowerCase(), FILTER_KEYS) ?? FILTER_KEYS.join(', ') }
    if (!value && !quoted) return { kind: 'value', hint: '' }
    if (key === 'state') {
      const pattern = matcher(value, quoted, true)
      if (!STATES.some(pattern)) return { kind: 'state', hint: nearest(value.toLowerCase(), STATES) ?? STATES.join(', ') }
      return { key, negated, value, test: pattern }
    }
    if (key === 'peer' && !quoted && value.includes('/')) {
      if (!isNetwork(value)) return { kind: 'network', hint: '' }
      return { key, negated, value, test: (address) => networkContains(value, address) }
    }
    return { key, negated, value, test: matcher(value, quoted, !IN_PART.has(key)) }
  }
  if (!value) return negated ? { kind: 'minus', hint: '' } : { kind: 'value', hint: '' }
  const state = STATES.find((item) => item === value.toLowerCase())
  if (state && !quoted) return { key: 'state', negated, value: state, test: (text) => text === state }
  return { key: 'text', negated, value, test: quoted ? (text) => text.toLowerCase().includes(value.toLowerCase()) : matcher(value, false, false) }
}

/** The test of a value. `quoted`: it is the whole value, also with `*`; `whole`: it is, unless it has a `*`. */
function matcher(value: string, quoted: boolean, whole: boolean): (text: string) => boolean {
  const wanted = value.toLowerCase()
  if (!quoted && wanted.includes('*')) return (text) => fits(wanted.split('*'), text.toLowerCase())
  return quoted || whole ? (text) => text.toLowerCase() === wanted : (text) => text.toLowerCase().includes(wanted)
}

/** True if a text consists of these parts in their order, with anything between them. */
function fits(parts: readonly string[], text: string): boolean {
  const first = parts[0] as string
  const last = parts[parts.length - 1] as string
  if (!text.startsWith(first)) return false
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return text.length - at >= last.length && text.endsWith(last)
}

const TEXTS: readonly (keyof FilterFields)[] = ['name', 'peer', 'project', 'cause', 'service', 'id', 'text']

function holds(term: Term, fields: FilterFields): boolean {
  if (term.key === 'text') return TEXTS.some((key) => term.test(fields[key]))
  return term.test(fields[term.key])
}

/** The test of a filter; `without`: a key that does not count, such as that by which something else counts. */
export function testOf(filter: Filter, without?: FilterKey): (fields: FilterFields) => boolean {
  const needed: Term[] = []
  const alternatives = new Map<string, Term[]>()
  for (const item of filter.terms) {
    if (item.key === without) continue
    if (item.negated || item.key === 'text') needed.push(item)
    else alternatives.set(item.key, [...(alternatives.get(item.key) ?? []), item])
  }
  const groups = [...alternatives.values()]
  return (fields) =>
    needed.every((item) => holds(item, fields) !== item.negated) && groups.every((group) => group.some((item) => holds(item, fields)))
}

/** The text of a term, with quotes where it needs them; `whole`: the value is the whole one, and not a part. */
export function termText(key: FilterKey | '', value: string, whole = false): string {
  const plain = !whole && /^[^\s"*:-][^\s"*]*$/.test(value) && (key !== '' || !STATES.includes(value as State))
  const text = plain ? value : `"${value.replace(/["\\]/g, '\\$&')}"`
  return key ? `${key}:${text}` : text
}

/** The states that a filter names. */
export function statesOf(filter: Filter): Set<State> {
  const named = filter.terms.filter((item) => item.key === 'state' && !item.negated)
  return new Set(STATES.filter((state) => named.some((item) => item.test(state))))
}

/** A text with a state more, or without it. */
export function toggleState(text: string, state: State): string {
  const named = statesOf(parseFilter(text))
  const rest = words(text).filter((word) => {
    const found = term(word)
    return 'kind' in found || found.key !== 'state' || found.negated
  })
  const kept = STATES.filter((item) => named.has(item) !== (item === state))
  return [...kept, ...rest.map((word) => text.slice(word.at, word.end))].join(' ')
}

/** How a word can be completed: `text` replaces what is from `from` to `to`. */
export interface Suggestion {
  label: string
  text: string
  from: number
  to: number
}

/** Suggestions for the word at a place of a text. `values`: those that there are, of each key. */
export function suggest(text: string, caret: number, values: (key: FilterKey) => Iterable<string>, most = 8): Suggestion[] {
  const word = words(text).find((item) => item.at < caret && caret <= item.end)
  if (!word && caret > 0 && !/\s/.test(text[caret - 1] ?? ' ')) return []
  const from = word?.at ?? caret
  const to = word?.end ?? caret
  const minus = word?.negated ? '-' : ''
  const offer = (items: string[]) => {
    const offered = items.slice(0, most).map((item) => ({ label: item, text: `${minus}${item}`, from, to }))
    // What is there already needs no completion.
    return offered.length === 1 && offered[0]?.text === text.slice(from, to) ? [] : offered
  }
  const typed = (word?.value ?? '').toLowerCase().replace(/\*$/, '')
  const key = word?.key ? known(word.key) : undefined
  if (word?.key) return key ? offer(startingWith(values(key), typed).map((item) => termText(key, item))) : []
  if (word?.quoted) return []
  const states = STATES.filter((state) => state.startsWith(typed))
  const keys = FILTER_KEYS.filter((item) => item.startsWith(typed)).map((item) => `${item}:`)
  return offer(typed ? [...states, ...keys] : [...keys, ...states])
}

function startingWith(values: Iterable<string>, typed: string): string[] {
  const all = [...new Set(values)].filter(Boolean).sort()
  const begins = all.filter((item) => item.toLowerCase().startsWith(typed))
  return [...begins, ...all.filter((item) => !begins.includes(item) && item.toLowerCase().includes(typed))]
}

/** The nearest of some words, undefined if none is near. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const near = words.map((item) => ({ item, far: distance(word, item) })).sort((a, b) => a.far - b.far)[0]
  return near && near.far <= (near.item.length > 3 ? 2 : 1) ? near.item : undefined
}

/** The Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] as number
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FilterFields, nearest, parseFilter, suggest, termText, testOf, toggleState } from './filter.ts'

const berlin: FilterFields = { state: 'down', name: 'berlin office', project: 'acme', peer: '203.0.113.9', cause: 'PSK_MISMATCH', service: 'left', id: '01a2', text: 'compare the pre-shared key' }
const oslo: FilterFields = { ...berlin, state: 'up', name: 'oslo', project: 'beta', peer: '2001:db8::7', cause: '', id: '01b3', text: '' }
const paris: FilterFields = { ...berlin, state: 'error', name: '*paris*', peer: '203.0.113.90', cause: 'IKE_PROPOSAL', text: '' }

function found(text: string): string[] {
  return [berlin, oslo, paris].filter(testOf(parseFilter(text))).map((item) => item.name)
}

test('all keys have to hold, and values of one key are alternatives', () => {
  assert.deepEqual(found(''), ['berlin office', 'oslo', '*paris*'])
  assert.deepEqual(found('down project:acme cause:PSK*'), ['berlin office'])
  assert.deepEqual(found('down error'), ['berlin office', '*paris*'])
  assert.deepEqual(found('down error cause:IKE*'), ['*paris*'])
})

test('an address is the whole address, a pattern, or in a network', () => {
  assert.deepEqual(found('peer:203.0.113.9'), ['berlin office'])
  assert.deepEqual(found('peer:203.0.113.*'), ['berlin office', '*paris*'])
  assert.deepEqual(found('peer:203.0.113.0/28'), ['berlin office'])
  assert.deepEqual(found('2001:db8::7'), ['oslo'])
  assert.deepEqual(found('peer:2001:db8::/32'), ['oslo'])
})

test('a name is looked for in part, in quotes as a whole', () => {
  assert.deepEqual(found('name:office'), ['berlin office'])
  assert.deepEqual(found('name:"office"'), [])
  assert.deepEqual(found('name:"berlin office"'), ['berlin office'])
  assert.deepEqual(found('"berlin office"'), ['berlin office'])
})

test('minus negates a term', () => {
  assert.deepEqual(found('-down'), ['oslo', '*paris*'])
  assert.deepEqual(found('-name:oslo -peer:203.0.113.90'), ['berlin office'])
  assert.deepEqual(found('-"pre-shared"'), ['oslo', '*paris*'])
})

test('a cause that is empty can be asked for', () => {
  assert.deepEqual(found('cause:""'), ['oslo'])
  assert.deepEqual(found('-cause:""'), ['berlin office', '*paris*'])
})

test('what is wrong is told, and the rest counts', () => {
  const { terms, problems } = parseFilter('nmae:x down cause: state:dwon peer:1.2.3.4/99 - "open')
  assert.deepEqual(problems.map((item) => [item.kind, item.word, item.hint]), [
    ['key', 'nmae:x', 'name'],
    ['value', 'cause:', ''],
    ['state', 'state:dwon', 'down'],
    ['network', 'peer:1.2.3.4/99', ''],
    ['minus', '-', ''],
    ['quote', '"open', ''],
  ])
  assert.equal(terms.length, 1)
})

test('patterns are no regular expressions', () => {
  assert.deepEqual(found('name:b.rlin*'), [])
  assert.deepEqual(found('name:(*'), [])
  assert.equal(parseFilter(`name:${'*'.repeat(30)}x`).problems.length, 0)
})

test('a state is toggled, and the rest stays', () => {
  assert.equal(toggleState('name:x', 'down'), 'down name:x')
  assert.equal(toggleState('down name:"a b" error', 'down'), 'error name:"a b"')
  assert.equal(toggleState('state:down -up', 'down'), '-up')
})

test('a value gets the quotes that it needs', () => {
  for (const value of ['a b', 'say "hi"', 'up', '-x', 'a\\b', 'fe80::1', '', '*']) {
    const { terms, problems } = parseFilter(termText('name', value))
    assert.deepEqual(problems, [])
    assert.equal(terms[0]?.value, value)
    assert.equal(terms[0]?.key, 'name')
  }
  assert.equal(parseFilter(termText('', 'up')).terms[0]?.key, 'text')
})

test('keys, states and values are suggested', () => {
  const values = (key: string) => (key === 'project' ? ['acme', 'beta', 'big acme', 'acme'] : [])
  const texts = (text: string) => suggest(text, text.length, values).map((item) => item.text)
  assert.deepEqual(texts('d'), ['down', 'degraded', 'disabled'].filter((item) => item.startsWith('d')).sort((a, b) => texts('d').indexOf(a) - texts('d').indexOf(b)))
  assert.deepEqual(texts('down pro'), ['project:'])
  assert.deepEqual(texts('project:ac'), ['project:acme', 'project:"big acme"'])
  assert.deepEqual(texts('-project:b'), ['-project:beta', '-project:"big acme"'])
  assert.deepEqual(suggest('pe down', 2, values), [{ label: 'peer:', text: 'peer:', from: 0, to: 2 }])
  assert.deepEqual(texts('foo:b'), [])
  assert.deepEqual(texts('project:beta'), [])
})

test('the nearest word is near', () => {
  assert.equal(nearest('proyect', ['project', 'peer']), 'project')
  assert.equal(nearest('zzz', ['project', 'peer']), undefined)
})

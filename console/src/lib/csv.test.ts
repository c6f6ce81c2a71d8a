import assert from 'node:assert/strict'
import { test } from 'node:test'
import { csvCell, csvText } from './csv.ts'

test('quotes, commas and lines are quoted', () => {
  assert.equal(csvText(['a', 'b'], [['x,y', 'say "hi"'], ['one\ntwo', '']]), 'a,b\r\n"x,y","say ""hi"""\r\n"one\ntwo",\r\n')
})

test('no cell is a formula', () => {
  for (const text of ['=1+1', '+1', '-1', '@x', '\tx', '\rx']) assert.ok(csvCell(text).replace(/^"/, '').startsWith("'"), text)
  assert.equal(csvCell('=HYPERLINK("http://x";"y")'), `"'=HYPERLINK(""http://x"";""y"")"`)
  assert.equal(csvCell('a=b'), 'a=b')
})

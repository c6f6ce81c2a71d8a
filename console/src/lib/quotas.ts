/** The form of quotas: one number for each resource that has one. */

import type { Attribute, Resource } from './schema_form.ts'

/** Of each resource: how many objects a project may have (-1: any number), and has. */
export type Details = Record<string, { limit: number; used: number }>

/** The attributes of a request that changes quotas. `names`: labels; `help` of a number; `check`: help of `check_limit`. */
export function quotaForm(details: Details, names: Record<string, string>, help: string, check: string): Resource {
  const fixed = { post: false, put: true, required: false, secret: false, privileged: false, privilegedParts: [], nullable: false }
  const attributes: Attribute[] = Object.keys(details).map((name) => ({ ...fixed, name, title: names[name], help, schema: { type: 'integer', minimum: -1, maximum: 2 ** 31 - 1 } }))
  attributes.push({ ...fixed, name: 'check_limit', help: check, schema: { type: 'boolean' } })
  return { singular: 'quota', plural: 'quotas', path: 'quotas', help: '', writable: true, columns: [], attributes }
}

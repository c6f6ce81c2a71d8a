/** Requests about the objects of the registry, and what a user may do with one. For pages only: it has the registry. */

import type { components } from '../generated/api'
import registry from '../generated/registry.json'
import { get, listAll, request, type Query } from './api.ts'
import type { Attribute, Resource, Values } from './schema_form.ts'

export type Item = { id: string; name?: string; project_id?: string; revision_number?: number } & Values
/** The answer of a dry run: what the request would do to connections. */
export type DryRun = components['schemas']['DryRun']

const RESOURCES = registry.resources as unknown as Record<string, Resource>
export const WEAK_ALGORITHMS: readonly string[] = registry.weakAlgorithms
export const AEAD_ALGORITHMS: readonly string[] = registry.aeadAlgorithms

/** A resource by its name in the singular. */
export function resourceOf(singular: string): Resource {
  const found = RESOURCES[singular]
  if (!found) throw new Error(`the registry has no ${singular}`)
  return found
}

export function attributeOf(resource: Resource, name: string): Attribute | undefined {
  return resource.attributes.find((item) => item.name === name)
}

export const readAll = (resource: Resource, query: Query = {}) => listAll<Item>(resource.path, resource.plural, query)

export async function readOne(resource: Resource, id: string): Promise<Item> {
  return inside(await get<Record<string, Item>>(`${resource.path}/${encodeURIComponent(id)}`), resource)
}

export async function create(resource: Resource, values: Values): Promise<Item> {
  return inside(await request<Record<string, Item>>('POST', resource.path, { body: { [resource.singular]: values } }), resource)
}

/** Changes an object, unless somebody else has changed it since it was read. */
export async function update(resource: Resource, item: Item, values: Values): Promise<Item> {
  const body = { [resource.singular]: values }
  return inside(await request<Record<string, Item>>('PUT', placeOf(resource, item), { body, headers: ifMatch(item) }), resource)
}

export const remove = (resource: Resource, item: Item) => request<void>('DELETE', placeOf(resource, item), { headers: ifMatch(item) })

/** What a request would do, without doing it. `item`: null for a new one; `values`: null for a deletion. */
export async function dryRun(resource: Resource, item: Item | null, values: Values | null): Promise<DryRun> {
  const method = item ? (values ? 'PUT' : 'DELETE') : 'POST'
  return rehearse(method, item ? placeOf(resource, item) : resource.path, values ? { [resource.singular]: values } : undefined, item)
}

/** What any request that has a dry run would do. */
export async function rehearse(method: string, path: string, body?: unknown, item: Item | null = null): Promise<DryRun> {
  const answer = await request<{ dry_run: DryRun }>(method, path, { query: { dry_run: true }, body, headers: item ? ifMatch(item) : {} })
  return answer.dry_run
}

/** True if a dry run has something that one should know before: an effect on a connection, or a weak choice. */
export function isTelling(answer: DryRun): boolean {
  return answer.weak_choices.length > 0 || answer.left_out > 0 || answer.connections.some((item) => item.effect !== 'nothing')
}

export function placeOf(resource: Resource, item: Item): string {
  return `${resource.path}/${encodeURIComponent(item.id)}`
}

function ifMatch(item: Item): Record<string, string> {
  return item.revision_number === undefined ? {} : { 'If-Match': `revision_number=${item.revision_number}` }
}

function inside(answer: Record<string, Item>, resource: Resource): Item {
  return answer[resource.singular] as Item
}

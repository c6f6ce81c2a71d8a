/** Names of what connections refer to by id: their projects and their VPN services. */

import { get, listAll } from './api.ts'
import type { components } from '../generated/api'
import { session } from './session.svelte.ts'

export type Service = Required<components['schemas']['ServiceFields']>

/** Milliseconds between two readings because of an unknown id. */
const AGAIN = 15_000

class Names {
  services = $state.raw(new Map<string, Service>())
  #projects = $state.raw(new Map<string, string>())
  #read = 0

  /** The name of a project; its id where the name is not known. */
  project(id: string): string {
    return this.#projects.get(id) ?? id
  }

  /** The name of a service; its id where it has none. */
  service(id: string): string {
    return this.services.get(id)?.name || id
  }

  /** Reads the names if one of these services is not known yet. Without them ids are shown, so that errors do not matter. */
  async need(services: Iterable<string>): Promise<void> {
    if (Date.now() - this.#read < AGAIN) return
    let missing = this.#read === 0
    for (const id of services) missing ||= !this.services.has(id)
    if (!missing) return
    this.#read = Date.now()
    await Promise.allSettled([this.#readServices(), this.#readProjects()])
  }

  async #readServices(): Promise<void> {
    const all = await listAll<Service>('v2.0/vpn/vpnservices', 'vpnservices')
    this.services = new Map(all.map((item) => [item.id, item]))
  }

  async #readProjects(): Promise<void> {
    const current = session.current
    const known = [...(current?.projects ?? []), ...(current?.project ? [current.project] : [])]
    this.#projects = new Map(known.map((item) => [item.id, item.name]))
    if (!current?.manages_users) return
    const { projects } = await get<{ projects: { id: string; name: string }[] }>('identity/v3/projects')
    this.#projects = new Map([...this.#projects, ...projects.map((item) => [item.id, item.name] as const)])
  }
}

export const names = new Names()

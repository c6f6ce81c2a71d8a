/** The state of the wizard for a new tunnel: what was entered, what there is, and what follows from both. */

import registry from '../generated/registry.json'
import { ApiError, get, listAll } from './api.ts'
import { choiceFor, versionFor, type Device, type Profile } from './devices.ts'
import { sentence } from './format.ts'
import { session } from './session.svelte.ts'
import { EXISTING, attachedTo, emptyDraft, serviceOf, usableRouters, type Draft, type Field, type World } from './wizard.ts'
import { problemsOf } from './wizardChecks.ts'
import { fieldOf, planOf } from './wizardPlan.ts'
import { run, type Made } from './wizardRun.svelte.ts'

const RESOURCES = registry.resources
type Resource = keyof typeof RESOURCES

/** The default of an attribute of a connection. */
export function defaultOf<T>(name: string): T {
  return RESOURCES.ipsec_site_connection.attributes.find((item) => item.name === name)?.default as T
}

/** What an attribute is, in a sentence of the API's. */
export function helpOf(name: string, resource: Resource = 'ipsec_site_connection'): string {
  return sentence(RESOURCES[resource].attributes.find((item) => item.name === name)?.help ?? '')
}

/** The formats of peers' configurations; `json` is for programs. */
export const FORMATS = registry.peerFormats.filter((item) => item.name !== 'json')

interface Kept {
  draft: Draft
  made: Made[]
}

class Wizard {
  draft = $state<Draft>(emptyDraft(defaultOf('dpd'), defaultOf('initiator')))
  /** The pre-shared key, which is in this memory only. */
  key = $state('')
  world = $state.raw<World | null>(null)
  error = $state.raw<ApiError | null>(null)
  /** The steps whose problems are shown, from 0. */
  tried = $state<number[]>([])
  /** A refusal of the API that names a field, as long as that has the refused value. */
  refused = $state.raw<{ field: Field; value: string; message: string } | null>(null)

  format = $derived(FORMATS.find((item) => item.name === this.draft.format) ?? FORMATS[0]!)
  device: Device = $derived(this.format.device)
  profile = $derived(this.world?.profiles.find((item) => item.name === this.draft.profile))
  choice = $derived(this.profile && this.draft.profile !== EXISTING ? choiceFor(this.profile, this.draft.version, this.device) : null)
  problems = $derived(this.world ? problemsOf(this.world, this.draft, this.key, this.device) : {})
  router = $derived(this.world?.routers.find((item) => item.id === this.draft.routerId))
  service = $derived(this.world ? serviceOf(this.world, this.draft) : null)
  plan = $derived(this.world ? planOf(this.world, this.draft, this.key, this.choice) : [])

  #place(): string {
    return `linkspan-new-tunnel:${session.current?.project?.id ?? ''}`
  }

  /** Reads what there is, and what was entered before a reload. */
  async load(): Promise<void> {
    if (!this.world) this.#restore()
    this.error = null
    try {
      this.world = await readWorld()
      this.#preselect()
    } catch (error) {
      this.error = error as ApiError
    }
  }

  #restore(): void {
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.#place()) ?? '') as Kept
      this.draft = { ...this.draft, ...kept.draft }
      run.restore(kept.made)
    } catch {
      // Nothing was kept.
    }
  }

  /** Keeps what was entered over a reload: never the key. */
  keep(): void {
    sessionStorage.setItem(this.#place(), JSON.stringify({ draft: this.draft, made: run.made } satisfies Kept))
  }

  /** Begins anew. */
  clear(): void {
    this.draft = emptyDraft(defaultOf('dpd'), defaultOf('initiator'))
    this.key = ''
    this.tried = []
    this.refused = null
    run.restore([])
    sessionStorage.removeItem(this.#place())
  }

  /** The problem of a field that is to be shown. `step`: the field's, from 0. */
  shown(field: Field, step: number): string | undefined {
    if (this.refused?.field === field && this.refused.value === this.#valueOf(field)) return this.refused.message
    return this.tried.includes(step) ? this.problems[field] : undefined
  }

  #valueOf(field: Field): string {
    return JSON.stringify(field === 'psk' ? this.key : this.draft[field])
  }

  /** Takes an error of the API: its field, or undefined if it names none. */
  take(error: ApiError): Field | undefined {
    const field = fieldOf(error)
    this.refused = field ? { field, value: this.#valueOf(field), message: error.message } : null
    return field
  }

  #preselect(): void {
    if (!this.world) return
    if (!this.world.routers.some((item) => item.id === this.draft.routerId)) this.draft.routerId = ''
    const usable = usableRouters(this.world)
    if (!this.draft.routerId && usable.length === 1) this.chooseRouter(usable[0]!.id)
    if (!this.world.profiles.some((item) => item.name === this.draft.profile) && this.draft.profile !== EXISTING)
      this.chooseProfile(this.world.profiles[0]?.name ?? EXISTING)
  }

  /** Sets the router, and its first network as the local one. */
  chooseRouter(id: string): void {
    if (!this.world) return
    const attached = attachedTo(this.world, id)
    const service = this.world.services.find((item) => item.router_id === id && item.admin_state_up)
    const first = attached.find((item) => item.id === service?.subnet_id) ?? attached.find((item) => !item.cidr.includes(':')) ?? attached[0]
    Object.assign(this.draft, { routerId: id, serviceId: '', subnetIds: first ? [first.id] : [] })
  }

  chooseProfile(name: string): void {
    this.draft.profile = name
    if (this.profile) this.draft.version = versionFor(this.profile, this.device)
  }

  chooseFormat(name: string): void {
    this.draft.format = name
    if (this.profile) this.draft.version = versionFor(this.profile, this.device)
    else if (!this.device.versions.includes(this.draft.version)) this.draft.version = this.device.versions.at(-1) ?? 'v2'
  }
}

export const wizard = new Wizard()

async function readWorld(): Promise<World> {
  const list = <T extends { id: string }>(resource: Resource, query = {}) => listAll<T>(RESOURCES[resource].path, RESOURCES[resource].plural, query)
  // Those who may not read certificates make tunnels with keys.
  const optional = <T extends { id: string }>(resource: Resource, rule: string) => (session.may(rule) ? list<T>(resource) : Promise.resolve([]))
  const [routers, ports, subnets, services, groups, ikepolicies, ipsecpolicies, connections, certificates, anchors, profiles] = await Promise.all([
    list<World['routers'][number]>('router', { sort_key: 'name', sort_dir: 'asc' }),
    list<World['ports'][number]>('port'),
    list<World['subnets'][number]>('subnet'),
    list<World['services'][number]>('vpnservice'),
    list<World['groups'][number]>('endpoint_group'),
    list<World['ikepolicies'][number]>('ikepolicy'),
    list<World['ipsecpolicies'][number]>('ipsecpolicy'),
    list<World['connections'][number]>('ipsec_site_connection'),
    optional<World['certificates'][number]>('certificate', 'get_certificate'),
    optional<World['anchors'][number]>('trust_anchor', 'get_trust_anchor'),
    get<{ crypto_profiles: Profile[] }>('v2.0/vpn/crypto-profiles'),
  ])
  const order = registry.cryptoProfiles
  profiles.crypto_profiles.sort((one, two) => order.indexOf(one.name) - order.indexOf(two.name))
  return { routers, ports, subnets, services, groups, ikepolicies, ipsecpolicies, connections, certificates, anchors, profiles: profiles.crypto_profiles }
}

/** Makes what a tunnel begins at: a network with a subnet, and a router with an external gateway. */

import { ApiError, request } from './api.ts'

interface Object {
  id: string
}

class Place {
  busy = $state(false)
  error = $state.raw<ApiError | null>(null)
  /** The ids of what was made, so that nothing is made twice. */
  #ids: { network?: string; subnet?: string; router?: string } = {}

  /** Makes all three, or goes on after a failure. Returns the id of the router; null if something failed. */
  async make(name: string, cidr: string, external: string): Promise<string | null> {
    if (this.busy) return null
    this.busy = true
    this.error = null
    try {
      const network = (this.#ids.network ??= await post('networks', 'network', { name: `${name}-net` }))
      const subnet = (this.#ids.subnet ??= await post('subnets', 'subnet', { name: `${name}-net`, network_id: network, cidr }))
      const router = (this.#ids.router ??= await post('routers', 'router', { name: `${name}-router`, external_gateway_info: { network_id: external } }))
      await request('PUT', `v2.0/routers/${router}/add_router_interface`, { body: { subnet_id: subnet } })
      this.#ids = {}
      return router
    } catch (error) {
      this.error = error as ApiError
      return null
    } finally {
      this.busy = false
    }
  }
}

export const place = new Place()

async function post(plural: string, singular: string, body: Record<string, unknown>): Promise<string> {
  const answer = await request<Record<string, Object>>('POST', `v2.0/${plural}`, { body: { [singular]: body } })
  return answer[singular]!.id
}

/** The gateway nodes. */

import { get } from './api.ts'
import type { operations } from '../generated/api'

type Answer<T extends keyof operations> = operations[T]['responses'] extends { 200: { content: { 'application/json': infer Content } } } ? Content : never

export type Node = Answer<'list_nodes'>['nodes'][number]
/** One node, with the routers of its gateways. */
export type NodeWithRouters = Answer<'show_node'>['node']

export const NODES = 'v2.0/linkspan/nodes'

export const readNodes = async (): Promise<Node[]> => (await get<{ nodes: Node[] }>(NODES)).nodes

export const readNode = async (id: string): Promise<NodeWithRouters> => (await get<{ node: NodeWithRouters }>(`${NODES}/${id}`)).node

/** When each node was heard last, as the API writes it. */
export async function readHeartbeats(): Promise<Map<string, string>> {
  const { agents } = await get<{ agents: { id: string; heartbeat_timestamp: string | null }[] }>('v2.0/agents')
  return new Map(agents.flatMap((agent) => (agent.heartbeat_timestamp ? [[agent.id, agent.heartbeat_timestamp.replace(' ', 'T')] as const] : [])))
}

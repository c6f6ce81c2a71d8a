/** The gateway nodes. */

import { get } from './api.ts'
import type { operations } from '../generated/api'

export type Node = operations['list_nodes']['responses'][200]['content']['application/json']['nodes'][number]

export const readNodes = async (): Promise<Node[]> => (await get<{ nodes: Node[] }>('v2.0/linkspan/nodes')).nodes

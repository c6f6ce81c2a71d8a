/** The map of gateways, tunnels and peers: what is on it, and where. Pure; the same connections give the same picture. */

import { termText } from './filter.ts'
import { addressKey } from './networks.ts'
import { sortedBy } from './order.ts'
import type { Row } from './rows.ts'
import { STATES, type State } from './state.ts'

/** A gateway of ours: a router, through its VPN services. */
export interface Gateway {
  id: string
  name: string
  addresses: string[]
  rows: Row[]
}

/** What of a service the map shows. */
export interface GatewayService {
  id: string
  name: string
  router_id: string
  external_v4_ip: string | null
  external_v6_ip: string | null
}

/** A tunnel, or several that are up and are drawn as one. */
export interface Tunnel {
  key: string
  state: State
  /** One: its connection. */
  row: Row | null
  count: number
  peer: string
  /** The filter that finds them. */
  filter: string
}

export interface Box {
  key: string
  x: number
  y: number
  width: number
  height: number
  title: string
  text: string
  /** The gateway of ours that a peer is. */
  gateway: string
}

export interface GatewayBox extends Box {
  worst: State
  count: number
  /** The filter that finds its connections. */
  filter: string
}

export interface Line {
  tunnel: Tunnel
  path: string
  /** Where its state and its name are written. */
  x: number
  y: number
  /** Room for them, in pixels. */
  room: number
}

export interface Picture {
  width: number
  height: number
  gateways: GatewayBox[]
  peers: Box[]
  lines: Line[]
}

/** Tunnels above which those that are up are drawn as one line of their gateway. */
const MANY = 200
const ROW = 34
const GAP = 28
const NARROW = 640

/** The gateways of connections, by name. `services`: those that are known, by id. */
export function gatewaysOf(rows: readonly Row[], services: ReadonlyMap<string, GatewayService>): Gateway[] {
  const found = new Map<string, Gateway>()
  for (const row of rows) {
    const service = services.get(row.connection.vpnservice_id)
    const id = service?.router_id ?? row.connection.vpnservice_id
    let gateway = found.get(id)
    if (!gateway) {
      const addresses = [service?.external_v4_ip, service?.external_v6_ip].filter((item) => item != null && item !== '') as string[]
      found.set(id, (gateway = { id, name: service?.name || id, addresses, rows: [] }))
    }
    gateway.rows.push(row)
  }
  return sortedBy([...found.values()], (gateway) => `${gateway.name.toLowerCase()} ${gateway.id}`)
}

/** The tunnels of a gateway by peer. `bundled`: those that are up as one. */
export function tunnelsOf(gateway: Gateway, bundled: boolean): Tunnel[] {
  const up = gateway.rows.filter((row) => row.state === 'up')
  const together = bundled && up.length > 3
  const single = together ? gateway.rows.filter((row) => row.state !== 'up') : gateway.rows
  const tunnels: Tunnel[] = sortedBy(single, (row) => `${addressKey(row.fields.peer)} ${row.fields.name} ${row.id}`).map((row) => ({
    key: row.id, state: row.state, row, count: 1, peer: row.fields.peer, filter: termText('id', row.id),
  }))
  if (!together) return tunnels
  return [...tunnels, { key: `up-${gateway.id}`, state: 'up', row: null, count: up.length, peer: '', filter: `up ${servicesOf(gateway)}` }]
}

/** The filter of the services of a gateway. */
function servicesOf(gateway: Gateway): string {
  return [...new Set(gateway.rows.map((row) => termText('service', row.fields.service, true)))].join(' ')
}

/** The picture for a width in pixels. */
export function draw(gateways: readonly Gateway[], width: number): Picture {
  const bundled = gateways.reduce((sum, gateway) => sum + gateway.rows.length, 0) > MANY
  const names = new Map(gateways.flatMap((gateway) => gateway.addresses.map((address) => [address, gateway] as const)))
  const picture: Picture = { width, height: 0, gateways: [], peers: [], lines: [] }
  for (const gateway of gateways) {
    const tunnels = tunnelsOf(gateway, bundled)
    if (width < NARROW) drawNarrow(picture, gateway, tunnels, names)
    else drawWide(picture, gateway, tunnels, names)
    picture.height += GAP
  }
  picture.height = Math.max(0, picture.height - GAP)
  return picture
}

function head(gateway: Gateway): Omit<GatewayBox, 'x' | 'y' | 'width' | 'height'> {
  const worst = STATES.find((state) => gateway.rows.some((row) => row.state === state)) ?? 'up'
  return { key: gateway.id, title: gateway.name, text: gateway.addresses.join(', '), gateway: '', worst, count: gateway.rows.length, filter: servicesOf(gateway) }
}

function peerBox(tunnel: Tunnel, names: ReadonlyMap<string, Gateway>): Pick<Box, 'key' | 'title' | 'text' | 'gateway'> {
  const ours = names.get(tunnel.peer)
  return { key: tunnel.key, title: ours ? ours.name : tunnel.peer, text: ours ? tunnel.peer : '', gateway: ours?.id ?? '' }
}

/** A gateway at the left, its peers at the right, a line for each tunnel between them. */
function drawWide(picture: Picture, gateway: Gateway, tunnels: readonly Tunnel[], names: ReadonlyMap<string, Gateway>): void {
  const { width } = picture
  const top = picture.height
  const side = Math.min(240, Math.floor(width * 0.26))
  const height = Math.max(52, tunnels.length * ROW)
  const middle = top + height / 2
  picture.gateways.push({ ...head(gateway), x: 0, y: middle - 26, width: side, height: 52 })
  const offset = (height - tunnels.length * ROW) / 2
  const bend = side + 70
  tunnels.forEach((tunnel, index) => {
    const y = top + offset + index * ROW + ROW / 2
    const end = width - side
    const path = `M${side} ${middle}C${side + 40} ${middle} ${bend - 40} ${y} ${bend} ${y}L${end} ${y}`
    picture.lines.push({ tunnel, path, x: bend + 6, y: y - 5, room: end - bend - 12 })
    const last = picture.peers.at(-1)
    // Several tunnels to one peer end in one box.
    if (index > 0 && last && tunnel.peer && tunnels[index - 1]?.peer === tunnel.peer) last.height += ROW
    else if (tunnel.peer) picture.peers.push({ ...peerBox(tunnel, names), x: end, y: y - ROW / 2 + 3, width: side, height: ROW - 6 })
  })
  picture.height = top + height
}

/** A gateway above, its tunnels below it as the branches of a tree. */
function drawNarrow(picture: Picture, gateway: Gateway, tunnels: readonly Tunnel[], names: ReadonlyMap<string, Gateway>): void {
  const { width } = picture
  const trunk = 14
  picture.gateways.push({ ...head(gateway), x: 0, y: picture.height, width, height: 52 })
  const top = picture.height + 52
  const step = ROW + 24
  tunnels.forEach((tunnel, index) => {
    const y = top + index * step + 24
    picture.lines.push({ tunnel, path: `M${trunk} ${top}L${trunk} ${y}L${width} ${y}`, x: trunk + 10, y: y - 5, room: width - trunk - 12 })
    if (tunnel.peer) picture.peers.push({ ...peerBox(tunnel, names), x: trunk + 10, y: y + 3, width: width - trunk - 10, height: 24 })
  })
  picture.height = top + tunnels.length * step
}

/** A text that fits into a room in pixels, about. */
export function shortened(text: string, room: number, pixels = 7.6): string {
  const most = Math.max(1, Math.floor(room / pixels))
  const letters = [...text]
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`
}

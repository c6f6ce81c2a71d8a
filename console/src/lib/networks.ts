/** Addresses and networks as texts: the checks of the API (`core.addresses`), before a request. */

export interface Address {
  version: 4 | 6
  value: bigint
}

/** A network with its host bits masked. `host`: the value of the address that was written. */
export interface Network extends Address {
  length: number
  host: bigint
}

const BITS = { 4: 32, 6: 128 } as const

/** The address of a text; null if it is none: leading zeros, zones and prefix lengths have no meaning here. */
export function parseAddress(text: string): Address | null {
  const value = text.includes(':') ? parseV6(text) : parseV4(text)
  return value === null ? null : { version: text.includes(':') ? 6 : 4, value }
}

function parseV4(text: string): bigint | null {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) return null
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n)
}

function parseV6(text: string): bigint | null {
  if (!/^[0-9a-fA-F:.]+$/.test(text)) return null
  const halves = text.split('::')
  if (halves.length > 2) return null
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')))
  const last = groups[groups.length - 1] ?? []
  const tail = last[last.length - 1]
  if (tail?.includes('.')) {
    const v4 = parseV4(tail)
    if (v4 === null) return null
    last.splice(-1, 1, (v4 >> 16n).toString(16), (v4 & 0xffffn).toString(16))
  }
  const count = groups.reduce((sum, half) => sum + half.length, 0)
  if (halves.length === 2 ? count > 7 : count !== 8) return null
  const all = [...(groups[0] ?? []), ...Array<string>(8 - count).fill('0'), ...(groups[1] ?? [])]
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return null
  return all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n)
}

/** The canonical text of an address: RFC 5952 for IPv6. */
export function addressText({ version, value }: Address): string {
  if (version === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')
  const groups = Array.from({ length: 8 }, (_, index) => (value >> BigInt(112 - 16 * index)) & 0xffffn)
  // The longest run of at least two zeros, the first of equal ones, is left out.
  let [start, most] = [-1, 1]
  for (let index = 0; index < 8; index++) {
    let run = 0
    while (groups[index + run] === 0n) run += 1
    if (run > most) [start, most] = [index, run]
    index += run
  }
  const words = groups.map((group) => group.toString(16))
  if (start < 0) return words.join(':')
  return `${words.slice(0, start).join(':')}::${words.slice(start + most).join(':')}`
}

/** The network of a CIDR; null if the text is none. */
export function parseNetwork(text: string): Network | null {
  const [head = '', length = '', ...rest] = text.split('/')
  const address = parseAddress(head)
  if (!address || rest.length || !/^(0|[1-9]\d{0,2})$/.test(length)) return null
  const bits = BITS[address.version]
  if (Number(length) > bits) return null
  const free = BigInt(bits - Number(length))
  return { version: address.version, value: (address.value >> free) << free, length: Number(length), host: address.value }
}

/** The text of a network, without host bits. */
export const networkText = (network: Network) => `${addressText(network)}/${network.length}`

/** True if the first network equals the second one or has it inside. */
export function contains(outer: Network, inner: Network): boolean {
  if (outer.version !== inner.version || outer.length > inner.length) return false
  const free = BigInt(BITS[outer.version] - outer.length)
  return outer.value >> free === inner.value >> free
}

/** True if two networks share an address. */
export const overlaps = (left: Network, right: Network) => contains(left, right) || contains(right, left)

/** The words of a list: separated by blanks, commas, semicolons or lines. */
export const words = (text: string) => text.split(/[\s,;]+/).filter(Boolean)

export type CidrFault =
  | { kind: 'form' | 'address' | 'mapped' | 'twice'; text: string }
  | { kind: 'bits'; text: string; network: string }

const MAPPED = parseNetwork('::ffff:0:0/96') as Network

/** The first fault of a list of CIDRs, null if there is none. Host bits are one: mostly they are a slip. */
export function cidrFault(list: readonly string[]): CidrFault | null {
  const seen = new Set<string>()
  for (const text of list) {
    const network = parseNetwork(text)
    if (!network) return { kind: parseAddress(text) ? 'address' : 'form', text }
    if (network.version === 6 && contains(MAPPED, network)) return { kind: 'mapped', text }
    const canonical = networkText(network)
    if (network.host !== network.value) return { kind: 'bits', text, network: canonical }
    if (seen.has(canonical)) return { kind: 'twice', text }
    seen.add(canonical)
  }
  return null
}

/** The canonical texts of CIDRs. A text that is none stays as it is. */
export function canonicalCidrs(list: readonly string[]): string[] {
  return list.map((text) => {
    const network = parseNetwork(text)
    return network ? networkText(network) : text
  })
}

const LABEL = /^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$/

/** True for a DNS name that is no number, as resolvers read it. */
export function isHostName(text: string): boolean {
  const labels = text.replace(/\.$/, '').split('.')
  const last = labels[labels.length - 1] ?? ''
  return text.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^(\d+|0[xX][0-9a-fA-F]*)$/.test(last)
}

const NO_PEER = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4', '::/127', 'fe80::/10', 'ff00::/8', '::ffff:0:0/96'].map(
  (text) => parseNetwork(text) as Network,
)

export type HostFault = 'form' | 'prefix' | 'nobody'

/** The fault of the address or the name of a peer, null if there is none. */
export function hostFault(text: string): HostFault | null {
  const address = parseAddress(text)
  if (!address) {
    if (parseNetwork(text)) return 'prefix'
    if (text.toLowerCase().replace(/\.$/, '') === 'localhost') return 'nobody'
    return isHostName(text) ? null : 'form'
  }
  const network = { ...address, length: BITS[address.version], host: address.value }
  return NO_PEER.some((outer) => contains(outer, network)) ? 'nobody' : null
}

/** True for text such as `203.0.113.0/24` or `2001:db8::/32`. */
export const isNetwork = (text: string): boolean => parseNetwork(text) !== null

/** True if an address is in a network; false for what is no address, such as a name. */
export function networkContains(network: string, address: string): boolean {
  const outer = parseNetwork(network)
  const found = parseAddress(address)
  return outer !== null && found !== null && contains(outer, { ...found, length: BITS[found.version], host: found.value })
}

/** A key that sorts addresses by their numbers, and names behind them. */
export function addressKey(text: string): string {
  const found = parseAddress(text)
  return found ? `${found.version}${found.value.toString(16).padStart(32, '0')}` : `n${text.toLowerCase()}`
}

/** The network that all of several addresses are in: at least a /16 of IPv4, a /32 of IPv6. Null if there is none. */
export function commonNetwork(addresses: readonly string[]): string | null {
  const first = parseAddress(addresses[0] ?? '')
  if (!first || new Set(addresses).size < 2) return null
  for (const length of first.version === 4 ? [24, 16] : [64, 48, 32]) {
    const network = parseNetwork(`${addressText(first)}/${length}`)
    if (network && addresses.every((text) => networkContains(networkText(network), text))) return networkText(network)
  }
  return null
}

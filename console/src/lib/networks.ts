/** Addresses and networks of IPv4 and IPv6 as text. Pure. */

interface Address {
  bits: 32 | 128
  value: bigint
}

function ipv4(text: string): bigint | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  const parts = match?.slice(1).map(Number)
  if (!parts || parts.some((part) => part > 255)) return null
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n)
}

function ipv6(text: string): bigint | null {
  const halves = text.split('::')
  if (halves.length > 2 || !/^[0-9a-f:]+$/i.test(text)) return null
  const [left = [], right = []] = halves.map((half) => (half ? half.split(':') : []))
  const gap = 8 - left.length - right.length
  if (halves.length === 1 ? gap !== 0 : gap < 1) return null
  const groups = [...left, ...Array<string>(gap).fill('0'), ...right]
  if (groups.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return null
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n)
}

function parse(text: string): Address | null {
  const bits = text.includes(':') ? 128 : 32
  const value = bits === 128 ? ipv6(text) : ipv4(text)
  return value === null ? null : { bits, value }
}

function parseNetwork(text: string): (Address & { prefix: number }) | null {
  const [address = '', length = '', ...more] = text.split('/')
  const found = parse(address)
  if (!found || more.length || !/^\d{1,3}$/.test(length) || Number(length) > found.bits) return null
  return { ...found, prefix: Number(length) }
}

/** True for text such as `203.0.113.0/24` or `2001:db8::/32`. */
export const isNetwork = (text: string): boolean => parseNetwork(text) !== null

/** True if an address is in a network; false for what is no address, such as a name. */
export function networkContains(network: string, address: string): boolean {
  const net = parseNetwork(network)
  const found = parse(address)
  if (!net || !found || net.bits !== found.bits) return false
  const shift = BigInt(net.bits - net.prefix)
  return found.value >> shift === net.value >> shift
}

/** A key that sorts addresses by their numbers, and names behind them. */
export function addressKey(text: string): string {
  const found = parse(text)
  return found ? `${found.bits === 32 ? 4 : 6}${found.value.toString(16).padStart(32, '0')}` : `n${text.toLowerCase()}`
}

function textOf(bits: 32 | 128, value: bigint, prefix: number): string {
  const size = bits === 32 ? 8n : 16n
  const parts = Array.from({ length: bits === 32 ? 4 : 8 }, (_, index) => (value >> (BigInt(bits) - size * BigInt(index + 1))) & ((1n << size) - 1n))
  if (bits === 32) return `${parts.join('.')}/${prefix}`
  return `${parts.slice(0, prefix / 16).map((part) => part.toString(16)).join(':')}::/${prefix}`
}

/** The network that all of several addresses are in: at least a /16 of IPv4, a /32 of IPv6. Null if there is none. */
export function commonNetwork(addresses: readonly string[]): string | null {
  const found = addresses.map(parse)
  const first = found[0]
  if (!first || new Set(addresses).size < 2) return null
  for (const prefix of first.bits === 32 ? [24, 16] : [64, 48, 32]) {
    const shift = BigInt(first.bits - prefix)
    if (found.every((item) => item?.bits === first.bits && item.value >> shift === first.value >> shift)) {
      return textOf(first.bits, (first.value >> shift) << shift, prefix)
    }
  }
  return null
}

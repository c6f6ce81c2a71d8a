/** What a peer's device can do, and the algorithms that fit it. `registry.peerFormats` has the devices. */

export interface Algorithms {
  encryption_algorithm: string
  auth_algorithm: string
  pfs: string
}

export interface Device {
  versions: string[]
  ike: Record<keyof Algorithms, string[]>
  ipsec: Record<keyof Algorithms, string[]>
  groupsOfV1: string[] | null
  oneGroup: boolean
  ikeLifetime: number[]
  childLifetime: number[]
  pairs: string
  ipv6: boolean
  certificates: boolean
  identities: string[]
  addressesAreIdentities: boolean
  psk: { pattern: string; words: string }
}

/** A crypto profile as the API has it. */
export interface Profile {
  name: string
  description: string
  source: string
  ikepolicy: Algorithms & { ike_version: string }
  ipsecpolicy: Algorithms & { transform_protocol: string }
  weak: string[]
}

export interface Lifetime {
  units: string
  value: number
}

/** The algorithms of both policies. `changes`: what differs from the profile, because the device cannot do that. */
export interface Choice {
  ike: Algorithms & { ike_version: string; lifetime: Lifetime }
  ipsec: Algorithms & { transform_protocol: string; lifetime: Lifetime }
  changes: { policy: 'ike' | 'ipsec'; attribute: string; from: string; to: string }[]
}

/** Stand-ins by preference: what RFC 8247 and RFC 8221 have as MUST or SHOULD, as strong as the recommended ones first. */
const STAND_INS: Record<keyof Algorithms, string[]> = {
  encryption_algorithm: ['aes-256-gcm-16', 'aes-256', 'aes-128-gcm-16', 'aes-128'],
  auth_algorithm: ['sha256', 'sha384', 'sha512'],
  pfs: ['group19', 'group20', 'group14', 'group15', 'group16'],
}
const ATTRIBUTES = ['encryption_algorithm', 'auth_algorithm', 'pfs'] as const
/** Seconds: the API's default. */
const LIFETIME = 3600

/** True for an algorithm that has integrity protection in it. */
export const combined = (name: string) => /-(gcm|ccm)-/.test(name)

function fitting(wanted: string, attribute: keyof Algorithms, possible: readonly string[]): string {
  if (possible.includes(wanted)) return wanted
  return STAND_INS[attribute].find((name) => possible.includes(name)) ?? wanted
}

function within(value: number, [least = value, most = value]: readonly number[]): number {
  return Math.max(least, Math.min(value, most))
}

/** The algorithms of a profile for an IKE version, as far as a device can do them. */
export function choiceFor(profile: Profile, version: string, device: Device): Choice {
  const choice: Choice = {
    ike: { ...profile.ikepolicy, ike_version: version, lifetime: { units: 'seconds', value: within(LIFETIME, device.ikeLifetime) } },
    ipsec: { ...profile.ipsecpolicy, lifetime: { units: 'seconds', value: within(LIFETIME, device.childLifetime) } },
    changes: [],
  }
  const one = version === 'v1'
  for (const attribute of ATTRIBUTES) {
    // IKEv1 has no numbers for these (RFC 5282).
    const ike = device.ike[attribute].filter((name) => !(one && (combined(name) || name.endsWith('-ctr') || name === 'aes-cmac')))
    const ipsec = attribute === 'pfs' && one && device.groupsOfV1 ? device.groupsOfV1 : device.ipsec[attribute]
    choice.ike[attribute] = fitting(profile.ikepolicy[attribute], attribute, ike)
    choice.ipsec[attribute] = fitting(profile.ipsecpolicy[attribute], attribute, ipsec)
  }
  if (device.oneGroup && !one) choice.ipsec.pfs = choice.ike.pfs
  for (const policy of ['ike', 'ipsec'] as const) {
    const before = policy === 'ike' ? profile.ikepolicy : profile.ipsecpolicy
    for (const attribute of ATTRIBUTES) {
      if (before[attribute] !== choice[policy][attribute]) choice.changes.push({ policy, attribute, from: before[attribute], to: choice[policy][attribute] })
    }
  }
  if (profile.ikepolicy.ike_version !== version)
    choice.changes.push({ policy: 'ike', attribute: 'ike_version', from: profile.ikepolicy.ike_version, to: version })
  return choice
}

/** The IKE version of a profile, or the one that the device has. */
export function versionFor(profile: Profile, device: Device): string {
  const wanted = profile.ikepolicy.ike_version
  return device.versions.includes(wanted) ? wanted : (device.versions.at(-1) ?? wanted)
}

/** True if a device takes a pre-shared key. */
export function takesKey(device: Device, key: string): boolean {
  return new RegExp(`^(?:${device.psk.pattern})$`, 's').test(key)
}

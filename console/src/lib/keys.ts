/** Pre-shared keys. */

const BYTES = 32

/** A new key of 256 bits from the browser's generator, as base64url (RFC 4648, section 5). */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES))
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

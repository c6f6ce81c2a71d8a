/** Pre-shared keys. */

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const CHARACTERS = `${LETTERS}0123456789`
/** Characters of a key: 256 bits, less a fraction of one. */
const LENGTH = 43

/** A new key from the browser's generator: letters and digits, a letter first, because some devices take no others. */
export function newKey(): string {
  let key = ''
  while (key.length < LENGTH) {
    for (const byte of crypto.getRandomValues(new Uint8Array(2 * LENGTH))) {
      const alphabet = key === '' ? LETTERS : CHARACTERS
      // Bytes above the last multiple of the number of characters would prefer some of them.
      if (byte < 256 - (256 % alphabet.length) && key.length < LENGTH) key += alphabet[byte % alphabet.length]
    }
  }
  return key
}

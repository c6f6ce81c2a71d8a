/** Pre-shared keys. */

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const CHARACTERS = `${LETTERS}0123456789`
/** Characters of a key: 190 bits. */
const LENGTH = 32

/** A new key, of letters and digits only and with a letter first: every device takes it. */
export function newKey(): string {
  let key = ''
  while (key.length < LENGTH) {
    // Bytes above the last multiple of the number of characters would prefer some of them.
    for (const byte of crypto.getRandomValues(new Uint8Array(64))) {
      const alphabet = key === '' ? LETTERS : CHARACTERS
      if (byte < 256 - (256 % alphabet.length) && key.length < LENGTH) key += alphabet[byte % alphabet.length]
    }
  }
  return key
}

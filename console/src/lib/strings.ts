/** The texts of the language in use. */
import { en } from '../strings/en.ts'

export const t = en

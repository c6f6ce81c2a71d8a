/** What connections on the screen carry, in bits per second, as their nodes tell. */

export interface Rate {
  in: number
  out: number
}

class Rates {
  /** False until it is known that the API has traffic. */
  available = $state(false)
  #rates = $state.raw(new Map<string, Rate>())

  /** Reads the rates of these connections from then on, and of no other ones. */
  follow(_ids: readonly string[]): void {}

  of(id: string): Rate | undefined {
    return this.#rates.get(id)
  }
}

export const rates = new Rates()

/** The place in the console: the part of the URL after `#`, such as `#/connections?q=down`. */

class Router {
  path = $state<string[]>([])
  query = $state(new URLSearchParams())

  constructor() {
    const read = () => {
      const [path = '', query = ''] = location.hash.replace(/^#/, '').split('?', 2)
      this.path = path.split('/').filter(Boolean).map(decodeURIComponent)
      this.query = new URLSearchParams(query)
    }
    window.addEventListener('hashchange', read)
    read()
  }

  /** Goes to a place, such as `/connections`. */
  go(place: string): void {
    location.hash = place
  }

  /** Changes parameters of the present place, without an entry in the history; an empty value removes one. */
  set(values: Record<string, string>): void {
    const query = new URLSearchParams(this.query)
    for (const [name, value] of Object.entries(values)) {
      if (value) query.set(name, value)
      else query.delete(name)
    }
    this.query = query
    history.replaceState(null, '', hrefOf(this.path, query))
  }
}

/** A link to a place. */
export function hrefOf(path: readonly string[], query?: URLSearchParams | Record<string, string>): string {
  const text = query ? new URLSearchParams(query).toString() : ''
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`
}

export const router = new Router()

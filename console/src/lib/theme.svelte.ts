/** The theme: that of the system, or the one that the user has chosen. */

export type Theme = 'auto' | 'light' | 'dark'

const KEY = 'linkspan-theme'

class ThemeChoice {
  #theme = $state<Theme>((localStorage.getItem(KEY) as Theme | null) ?? 'auto')

  constructor() {
    this.#apply()
  }

  get value(): Theme {
    return this.#theme
  }

  set value(theme: Theme) {
    this.#theme = theme
    localStorage.setItem(KEY, theme)
    this.#apply()
  }

  #apply(): void {
    if (this.#theme === 'auto') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = this.#theme
  }
}

export const theme = new ThemeChoice()

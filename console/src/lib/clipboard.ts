/** Copies to the clipboard and downloads of texts. */

/**
 * Copies a text. `element`: shows the text; it is selected where the browser lets no page write to the clipboard, as
 * over plain HTTP. Returns false if the user has to copy what is selected.
 */
export async function copyText(text: string, element?: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    if (!element) return false
    getSelection()?.selectAllChildren(element)
    return document.execCommand('copy')
  }
}

/** Saves a text as a file of the user's. */
export function downloadText(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** Requests to the API, on the console's own origin. The token is in a cookie that no script reads. */

const ROOT = new URL('../', document.baseURI)

/** Why a request failed. `status`: that of HTTP, 0 if the API did not answer; `message`: a sentence of the API's. */
export class ApiError extends Error {
  readonly status: number
  readonly type: string
  readonly retryAfter: number

  constructor(status: number, type: string, message: string, retryAfter = 0) {
    super(message)
    this.status = status
    this.type = type
    this.retryAfter = retryAfter
  }

  /** True if the API, or the way to it, is away. */
  get isAway(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>

let unauthorized = () => {}

/** Sets what is called when the API no longer accepts the session. */
export function onUnauthorized(callback: () => void): void {
  unauthorized = callback
}

/** The URL of a path of the API, such as `v2.0/vpn/ikepolicies`. */
export function urlOf(path: string, query: Query = {}): URL {
  const url = new URL(path, ROOT)
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue
    for (const item of typeof value === 'object' ? value : [value]) url.searchParams.append(name, String(item))
  }
  return url
}

export const HEADERS = { 'X-Linkspan-Console': '1' }

/**
 * Sends a request and returns the JSON of the answer, undefined without a body. Throws ApiError. `confirms`: a 401 is about
 * a password in the body, and not about the session.
 */
export async function request<T>(
  method: string,
  path: string,
  options: { query?: Query; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal; confirms?: boolean } = {},
): Promise<T> {
  const headers: Record<string, string> = { ...HEADERS, Accept: 'application/json', ...options.headers }
  if (options.body !== undefined) headers['Content-Type'] = 'application/json'
  let response: Response
  try {
    response = await fetch(urlOf(path, options.query), {
      method,
      headers,
      credentials: 'same-origin',
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
    })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError(0, 'Away', 'The API does not answer')
  }
  if (!response.ok) throw await failure(response, options.confirms)
  const text = await response.text()
  return (text ? JSON.parse(text) : undefined) as T
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => request<T>('GET', path, { query, signal })

/** The error of an answer. */
export async function failure(response: Response, confirms = false): Promise<ApiError> {
  let type = response.statusText || 'Error'
  let message = `The API answered ${response.status}`
  try {
    const body = JSON.parse(await response.text())
    type = body.NeutronError?.type ?? body.error?.title ?? type
    message = body.NeutronError?.message ?? body.error?.message ?? message
  } catch {
    // An answer of a proxy: its status says it all.
  }
  if (response.status === 401 && !confirms) unauthorized()
  return new ApiError(response.status, type, message, Number(response.headers.get('Retry-After') ?? 0))
}

/** All objects of a list, in pages. `path`: of the collection; `plural`: its key in an answer. Throws ApiError. */
export async function listAll<T extends { id: string }>(
  path: string,
  plural: string,
  query: Query = {},
  signal?: AbortSignal,
): Promise<T[]> {
  const found: T[] = []
  let marker: string | undefined
  for (;;) {
    const answer = await get<Record<string, unknown>>(path, { ...query, marker }, signal)
    const page = answer[plural] as T[]
    found.push(...page)
    const links = answer[`${plural}_links`] as { rel: string }[] | undefined
    if (page.length === 0 || !links?.some((link) => link.rel === 'next')) return found
    marker = page[page.length - 1]?.id
  }
}

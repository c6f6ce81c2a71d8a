/** The session of the user: who they are, in which project, and what they may do. */

import { ApiError, onUnauthorized, request } from './api.ts'

export interface Session {
  version: string
  /** `none`: everybody is an admin. */
  login: 'none' | 'password'
  /** True if the users are those of an OpenStack cloud's Keystone. */
  external: boolean
  user: { id: string; name: string } | null
  project?: { id: string; name: string } | null
  projects?: { id: string; name: string }[]
  roles?: string[]
  is_admin?: boolean
  /** True if users and projects are managed here, and this user may. */
  manages_users?: boolean
  /** The names of the policy rules that hold for this user, such as `create_ikepolicy`. */
  allowed?: string[]
  expires_at?: string | null
}

const PATH = 'console/session'

class SessionState {
  current = $state<Session | null>(null)
  /** True after a session ended by itself: the page stays, and asks for a login. */
  ended = $state(false)
  error = $state<ApiError | null>(null)
  #allowed = $derived(new Set(this.current?.allowed ?? []))

  get ready(): boolean {
    return this.current?.user != null && this.current.project != null
  }

  /** True if a policy rule holds for the user, such as `update_ipsec_site_connection`. */
  may(rule: string): boolean {
    return this.#allowed.has(rule)
  }

  async load(): Promise<void> {
    try {
      this.current = await request<Session>('GET', PATH)
      this.error = null
    } catch (error) {
      this.error = error as ApiError
    }
  }

  async logIn(name: string, password: string, domain: string): Promise<void> {
    this.#begin(await request<Session>('POST', PATH, { body: { name, password, domain } }))
  }

  async chooseProject(project_id: string): Promise<void> {
    this.#begin(await request<Session>('PUT', PATH, { body: { project_id } }))
  }

  async logOut(): Promise<void> {
    await request('DELETE', PATH)
    await this.load()
  }

  #begin(session: Session): void {
    this.current = session
    this.ended = false
  }
}

export const session = new SessionState()

onUnauthorized(() => {
  if (session.current?.user) session.ended = true
})

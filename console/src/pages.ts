/** The pages: where they are, what shows them, and what a user needs for them. */

import type { Component } from 'svelte'
import type { Session } from './lib/session.svelte.ts'
import { t } from './lib/strings.ts'

export interface Page {
  /** The first part of the path. */
  path: string
  title: string
  /** Groups of the menu; a page without one is reached from another. */
  group?: 'tunnels' | 'settings' | 'operation'
  load: () => Promise<{ default: Component<any> }>
  /** True if the user has a use for it; the API decides what they may do there. */
  offered: (session: Session) => boolean
}

const always = () => true
const may = (rule: string) => (session: Session) => session.allowed?.includes(rule) ?? false
const admins = (session: Session) => session.is_admin ?? false

export const PAGES: readonly Page[] = [
  { path: 'now', title: t.pages.now, group: 'tunnels', load: () => import('./pages/Now.svelte'), offered: admins },
  { path: 'tunnels', title: t.pages.tunnels, group: 'tunnels', load: () => import('./pages/Tunnels.svelte'), offered: always },
  { path: 'connections', title: t.pages.connections, group: 'tunnels', load: () => import('./pages/Connections.svelte'), offered: always },
  { path: 'connection', title: t.pages.connection, load: () => import('./pages/Connection.svelte'), offered: always },
  { path: 'new', title: t.pages.newTunnel, group: 'tunnels', load: () => import('./pages/NewTunnel.svelte'), offered: may('create_ipsec_site_connection') },
  { path: 'map', title: t.pages.map, group: 'tunnels', load: () => import('./pages/Map.svelte'), offered: always },
  { path: 'changes', title: t.pages.changes, group: 'tunnels', load: () => import('./pages/Changes.svelte'), offered: always },
  { path: 'policies', title: t.pages.policies, group: 'settings', load: () => import('./pages/Policies.svelte'), offered: always },
  { path: 'services', title: t.pages.services, group: 'settings', load: () => import('./pages/Services.svelte'), offered: always },
  { path: 'networks', title: t.pages.networks, group: 'settings', load: () => import('./pages/Networks.svelte'), offered: always },
  { path: 'certificates', title: t.pages.certificates, group: 'settings', load: () => import('./pages/Certificates.svelte'), offered: always },
  { path: 'quotas', title: t.pages.quotas, group: 'settings', load: () => import('./pages/Quotas.svelte'), offered: always },
  { path: 'account', title: t.account.title, load: () => import('./pages/Account.svelte'), offered: (session) => session.login === 'password' && !session.external },
  { path: 'nodes', title: t.pages.nodes, group: 'operation', load: () => import('./pages/Nodes.svelte'), offered: admins },
  { path: 'users', title: t.pages.users, group: 'operation', load: () => import('./pages/Users.svelte'), offered: (session) => session.manages_users ?? false },
]

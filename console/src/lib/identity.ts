/** Users, projects, roles and application credentials of the embedded identity, at /identity/v3. */

import { get, request } from './api.ts'
import type { Attribute, Resource, Schema, Values } from './schema_form.ts'
import { t } from './strings.ts'

const ROOT = 'identity/v3'

export interface User {
  id: string
  name: string
  description: string
  email: string | null
  default_project_id: string | null
  enabled: boolean
}

export interface Project {
  id: string
  name: string
  description: string
  enabled: boolean
}

/** A role of a user in a project. */
export interface Assignment {
  id: string
  role: string
  user: { id: string; name: string }
  project: { id: string; name: string }
}

export interface Credential {
  id: string
  name: string
  description: string
  project_id: string
  roles: { id: string; name: string }[]
  unrestricted: boolean
  expires_at: string | null
}

// --- what forms ask for: the registry has no users

const TEXT: Schema = { type: 'string', maxLength: 255 }

function attribute(name: string, schema: Schema, more: Partial<Attribute> = {}): Attribute {
  return { name, help: '', post: true, put: true, required: false, secret: false, privileged: false, privilegedParts: [], nullable: false, default: '', schema, ...more }
}

function form(singular: string, attributes: Attribute[]): Resource {
  return { singular, plural: `${singular}s`, path: '', help: '', writable: true, columns: [], attributes }
}

const NAME = attribute('name', { ...TEXT, minLength: 1 }, { required: true, help: t.users.nameHelp })
const DESCRIPTION = attribute('description', TEXT)
const PASSWORD: Schema = { type: 'string', minLength: 12, maxLength: 255 }

export const USER = form('user', [
  NAME,
  attribute('email', TEXT),
  attribute('default_project_id', { type: ['string', 'null'] }, { default: null, help: t.users.defaultProjectHelp }),
  attribute('password', PASSWORD, { secret: true, put: false, help: t.users.passwordHelp }),
  DESCRIPTION,
])
export const PROJECT = form('project', [NAME, DESCRIPTION])
export const NEW_PASSWORD = form('password', [attribute('password', PASSWORD, { secret: true, required: true, title: t.users.newPassword, help: t.users.newPasswordHelp })])
export const OWN_PASSWORD = form('password', [
  attribute('original_password', { type: 'string', maxLength: 255 }, { secret: true, required: true, title: t.account.original }),
  attribute('password', PASSWORD, { secret: true, required: true, title: t.users.newPassword, help: t.users.newPasswordHelp }),
])

/** The form of an application credential. `roles`: those of the user, of which it can have some. */
export const credentialForm = (roles: string[]) =>
  form('application_credential', [
    NAME,
    attribute('roles', { type: 'array', items: { enum: roles } }, { default: [], help: t.account.rolesHelp }),
    attribute('expires_at', TEXT, { help: t.account.expiresHelp }),
    attribute('secret', PASSWORD, { secret: true, help: t.account.secretHelp }),
    attribute('unrestricted', { type: 'boolean' }, { default: false, help: t.account.unrestrictedHelp }),
    DESCRIPTION,
  ])

// --- requests. Each throws ApiError.

const one = (...path: string[]) => [ROOT, ...path.map(encodeURIComponent)].join('/')

export const readUsers = async () => (await get<{ users: User[] }>(one('users'))).users
export const readProjects = async () => (await get<{ projects: Project[] }>(one('projects'))).projects
export const readRoles = async () => (await get<{ roles: { id: string }[] }>(one('roles'))).roles.map((role) => role.id)

export async function readAssignments(): Promise<Assignment[]> {
  interface Shown {
    role: { id: string }
    user: { id: string; name: string }
    scope: { project: { id: string; name: string } }
  }
  const answer = await get<{ role_assignments: Shown[] }>(one('role_assignments'), { include_names: true })
  return answer.role_assignments.map(({ role, user, scope }) => ({ id: `${user.id}/${scope.project.id}/${role.id}`, role: role.id, user, project: scope.project }))
}

export const createUser = async (values: Values) => (await request<{ user: User }>('POST', one('users'), { body: { user: values } })).user
export const updateUser = (id: string, values: Values) => request('PATCH', one('users', id), { body: { user: values } })
export const deleteUser = (id: string) => request('DELETE', one('users', id))
export const createProject = async (values: Values) => (await request<{ project: Project }>('POST', one('projects'), { body: { project: values } })).project
export const updateProject = (id: string, values: Values) => request('PATCH', one('projects', id), { body: { project: values } })
export const deleteProject = (id: string) => request('DELETE', one('projects', id))

const assignment = (project: string, user: string, role: string) => one('projects', project, 'users', user, 'roles', role)
export const grant = (project: string, user: string, role: string) => request('PUT', assignment(project, user, role))
export const revoke = (project: string, user: string, role: string) => request('DELETE', assignment(project, user, role))

/**
 * Changes the user's own password, which ends the session, and begins one with the new password in the same project.
 * `domain`: there is only one.
 */
export async function changePassword(user: { id: string; name: string }, project: string, values: Values): Promise<void> {
  await request('POST', one('users', user.id, 'password'), { body: { user: values }, confirms: true })
  await request('POST', 'console/session', { body: { name: user.name, password: values.password }, confirms: true })
  await request('PUT', 'console/session', { body: { project_id: project } })
}

export async function readCredentials(user: string): Promise<Credential[]> {
  return (await get<{ application_credentials: Credential[] }>(one('users', user, 'application_credentials'))).application_credentials
}

export async function createCredential(user: string, values: Values): Promise<Credential & { secret: string }> {
  const roles = values.roles as string[] | undefined
  const body = { application_credential: { ...values, roles: roles?.map((id) => ({ id })) } }
  return (await request<{ application_credential: Credential & { secret: string } }>('POST', one('users', user, 'application_credentials'), { body })).application_credential
}

export const deleteCredential = (user: string, id: string) => request('DELETE', one('users', user, 'application_credentials', id))

/** Forms from the registry's attributes: which fields there are, and values between JSON and what inputs hold. */

/** JSON Schema, as far as the registry uses it. */
export interface Schema {
  type?: string | string[]
  enum?: unknown[]
  const?: unknown
  oneOf?: Schema[]
  anyOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  examples?: string[]
}

export interface Attribute {
  name: string
  /** Its label, if the name does not say it. */
  title?: string
  help: string
  post: boolean
  put: boolean
  required: boolean
  secret: boolean
  privileged: boolean
  privilegedParts: string[]
  nullable: boolean
  schema: Schema
  default?: unknown
}

export interface Resource {
  singular: string
  plural: string
  path: string
  help: string
  writable: boolean
  columns: string[]
  attributes: Attribute[]
}

export type Mode = 'create' | 'update'
/** What an input holds. Null: "none" has been chosen. */
export type Raw = string | boolean | null | string[] | RawObject | RawObject[]
export interface RawObject {
  [name: string]: Raw
}
export type Values = Record<string, unknown>

export interface Field {
  name: string
  title: string
  help: string
  kind: 'text' | 'lines' | 'pem' | 'integer' | 'boolean' | 'choice' | 'secret' | 'list' | 'reference' | 'references' | 'object' | 'objects'
  required: boolean
  /** True if the value can be none, which is another thing than left out. */
  none: boolean
  secret: boolean
  choices: string[]
  /** How the texts of a list are told apart. */
  separator: 'line' | 'word' | 'pem'
  /** The resource that a reference is to, empty where `choices` has the texts; and which of its objects can be referenced. */
  to: string
  query: Record<string, string>
  fields: Field[]
  example: string
  default: unknown
  minimum?: number
  maximum?: number
  maxLength?: number
  nullable: boolean
}

interface Target {
  to: string
  query?: Record<string, string>
}

/** What attributes with the id of an object refer to. */
const REFERENCES: Record<string, Target> = {
  project_id: { to: 'project' },
  default_project_id: { to: 'project' },
  vpnservice_id: { to: 'vpnservice' },
  ikepolicy_id: { to: 'ikepolicy' },
  ipsecpolicy_id: { to: 'ipsecpolicy' },
  local_ep_group_id: { to: 'endpoint_group', query: { type: 'subnet' } },
  peer_ep_group_id: { to: 'endpoint_group', query: { type: 'cidr' } },
  local_certificate_id: { to: 'certificate' },
  trust_anchor_id: { to: 'trust_anchor' },
  issuer_id: { to: 'trust_anchor', query: { source: 'generated' } },
  router_id: { to: 'router' },
  subnet_id: { to: 'subnet' },
  network_id: { to: 'network' },
  device_id: { to: 'router' },
  subnets: { to: 'subnet' },
  in_use_by: { to: 'ipsec_site_connection' },
  'external_gateway_info.network_id': { to: 'network', query: { 'router:external': 'true' } },
}
/** Types of endpoint groups whose members are objects. */
const ENDPOINTS: Record<string, Target> = { subnet: { to: 'subnet' }, router: { to: 'router' }, network: { to: 'network' } }
/** Attributes of which there is only one value here. */
const SINGLE_VALUED = ['flavor_id', 'enable_snat', 'qos_policy_id']
const ACRONYMS = ['psk', 'ppk', 'dpd', 'mtu', 'ike', 'ip', 'cidr', 'id', 'crl', 'ca', 'csr', 'dhcp', 'dns', 'url', 'pfs', 'mac']
const SPELLED: Record<string, string> = { vpnservice: 'VPN service', ikepolicy: 'IKE policy', ipsecpolicy: 'IPsec policy', ep: 'endpoint', phase1: 'phase 1', auth: 'authentication' }
/** Longest secret that is one line. */
const SECRET_LINE = 255

/** The resource whose objects an attribute has the ids of, empty if it has none. `type`: that of an endpoint group. */
export function targetOf(name: string, type = ''): string {
  return (name === 'endpoints' ? ENDPOINTS[type] : REFERENCES[name])?.to ?? ''
}

/** The name of an attribute as a label, such as `Peer CIDRs`. */
export function titleOf(name: string): string {
  const words = name.replace(/(?<=.)_id$/, '').split(/[_:]/)
  const spelled = words.map((word) => {
    if (SPELLED[word]) return SPELLED[word]
    const plural = word.endsWith('s') && ACRONYMS.includes(word.slice(0, -1))
    if (plural) return `${word.slice(0, -1).toUpperCase()}s`
    return ACRONYMS.includes(word) ? word.toUpperCase() : word
  })
  const text = ['peer_id', 'local_id'].includes(name) ? `${spelled.join(' ')} ID` : spelled.join(' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** The form that values have in answers, of the forms that a request may give them; and if null is one. */
function mainOf(schema: Schema): { schema: Schema; nullable: boolean } {
  const alternatives = schema.oneOf ?? schema.anyOf
  if (alternatives) {
    const main = alternatives.find((item) => item.properties || item.items || item.type === 'boolean' || item.type === 'integer') ?? alternatives[0] ?? {}
    const inner = mainOf(main)
    return { schema: inner.schema, nullable: inner.nullable || alternatives.some((item) => item.type === 'null') }
  }
  const types = Array.isArray(schema.type) ? schema.type : [schema.type]
  return { schema: { ...schema, type: types.find((item) => item !== 'null') }, nullable: types.includes('null') || (schema.enum?.includes(null) ?? false) }
}

/** The fields that a user may fill in. `values`: what the form holds; the type of an endpoint group decides what its members are. */
export function fieldsOf(resource: Resource, mode: Mode, admin: boolean, values: RawObject = {}): Field[] {
  const offered = resource.attributes.filter((item) => {
    if (!(mode === 'create' ? item.post : item.put) || SINGLE_VALUED.includes(item.name)) return false
    return admin || (!item.privileged && item.name !== 'project_id')
  })
  return offered.map((item) => {
    const field = fieldOf(item.name, item.schema, item, admin)
    if (mode === 'update') field.required = item.required && field.kind !== 'secret'
    const endpoints = item.name === 'endpoints' ? ENDPOINTS[String(values.type)] : undefined
    return endpoints ? { ...field, kind: 'references', to: endpoints.to } : field
  })
}

function fieldOf(name: string, declared: Schema, attribute: Attribute | undefined, admin: boolean, within = ''): Field {
  const { schema, nullable } = mainOf(declared)
  const field: Field = {
    name,
    title: attribute?.title ?? titleOf(name),
    // Help that only repeats the label is none.
    help: attribute && attribute.help.toLowerCase() !== titleOf(name).toLowerCase() ? attribute.help : '',
    kind: 'text',
    required: attribute?.required ?? false,
    none: false,
    secret: attribute?.secret ?? false,
    choices: [],
    separator: 'line',
    to: '',
    query: {},
    fields: [],
    example: schema.examples?.[0] ?? schema.items?.examples?.[0] ?? '',
    default: attribute?.default,
    minimum: schema.minimum,
    maximum: schema.maximum,
    maxLength: schema.maxLength,
    nullable: nullable || (attribute?.nullable ?? false),
  }
  const target = REFERENCES[`${within}.${name}`] ?? REFERENCES[name]
  if (target) return { ...field, kind: 'reference', to: target.to, query: target.query ?? {} }
  if (schema.enum) return { ...field, kind: 'choice', choices: schema.enum.filter((item) => item !== null).map(String) }
  if (schema.type === 'boolean') return { ...field, kind: 'boolean' }
  if (schema.type === 'integer') return { ...field, kind: 'integer' }
  if (schema.properties) return { ...field, kind: 'object', fields: partsOf(name, schema, attribute, admin) }
  if (schema.items) {
    if (mainOf(schema.items).schema.properties) return { ...field, kind: 'objects', fields: partsOf(name, schema.items, undefined, admin) }
    const choices = schema.items.enum?.map(String)
    if (choices) return { ...field, kind: 'references', choices }
    const separator = schema.items.format === 'pem' ? 'pem' : schema.items.format || !schema.items.maxLength ? 'word' : 'line'
    return { ...field, kind: 'list', separator }
  }
  if (schema.format === 'pem' || (field.secret && (schema.maxLength ?? 0) > SECRET_LINE)) return { ...field, kind: 'pem' }
  if (field.secret) return { ...field, kind: 'secret', none: field.nullable }
  if (schema.pattern?.startsWith('^[^\\x00-\\x08')) return { ...field, kind: 'lines' }
  return { ...field, none: attribute?.nullable ?? false }
}

function partsOf(name: string, declared: Schema, attribute: Attribute | undefined, admin: boolean): Field[] {
  const { schema } = mainOf(declared)
  const whole = attribute?.default as Record<string, unknown> | null | undefined
  return Object.entries(schema.properties ?? {})
    .filter(([part]) => !SINGLE_VALUED.includes(part) && (!whole || part in whole))
    .filter(([part]) => admin || !attribute?.privilegedParts.includes(part))
    .map(([part, item]) => {
      const field = fieldOf(part, item, undefined, admin, name)
      // What can be none as a whole needs no part of it.
      return { ...field, required: attribute?.default !== null && (schema.required?.includes(part) ?? false) }
    })
}

/** What an input holds for a value. */
export function toRaw(field: Field, value: unknown): Raw {
  if (value === null && field.none && field.kind === 'text') return null
  switch (field.kind) {
    case 'boolean':
      return value === true
    case 'list': {
      const items = (value as string[] | null | undefined) ?? []
      return items.join('\n')
    }
    case 'references':
      return [...((value as string[] | null | undefined) ?? [])]
    case 'object': {
      const parts = (value as Values | null | undefined) ?? {}
      return Object.fromEntries(field.fields.map((part) => [part.name, toRaw(part, parts[part.name])]))
    }
    case 'objects': {
      const rows = (value as Values[] | null | undefined) ?? []
      return rows.map((row) => Object.fromEntries(field.fields.map((part) => [part.name, toRaw(part, row[part.name])])))
    }
    default:
      return value === null || value === undefined ? '' : String(value)
  }
}

/** The JSON value of what an input holds; undefined: none is said. Texts that cannot be converted stay: the API refuses them. */
export function fromRaw(field: Field, raw: Raw): unknown {
  if (raw === null) return null
  switch (field.kind) {
    case 'boolean':
      return raw
    case 'references':
      return Array.isArray(raw) ? raw : []
    case 'integer': {
      const text = String(raw).trim()
      if (text === '') return undefined
      return /^[+-]?\d{1,15}$/.test(text) ? Number(text) : text
    }
    case 'list':
      return splitList(typeof raw === 'string' ? raw : '', field.separator)
    case 'object': {
      const whole = objectOf(field, raw as RawObject)
      return Object.keys(whole).length === 0 ? null : whole
    }
    case 'objects':
      return (raw as RawObject[]).map((row) => objectOf(field, row)).filter((row) => Object.keys(row).length > 0)
    case 'choice':
    case 'secret':
      return raw === '' ? undefined : raw
    case 'reference':
      return raw === '' ? null : raw
    case 'pem':
      return String(raw).trim() === '' ? (field.secret ? undefined : null) : raw
    default:
      if (raw !== '') return raw
      // Left empty, such a text says nothing: "none" is a choice of its own.
      return field.none ? undefined : ''
  }
}

function objectOf(field: Field, raw: RawObject): Values {
  const parts = field.fields.map((part) => [part.name, valueIn(part, raw)] as const)
  return Object.fromEntries(parts.filter(([, value]) => value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)))
}

/** The texts of a list: one a line, one a word, or one a block of PEM. */
export function splitList(text: string, separator: Field['separator']): string[] {
  if (separator === 'pem') return (text.match(/-----BEGIN [^-]+-----[^]*?-----END [^-]+-----/g) ?? (text.trim() ? [text] : [])).map((item) => `${item.trim()}\n`)
  return text
    .split(separator === 'word' ? /[\s,]+/ : /\n/)
    .map((item) => item.trim())
    .filter(Boolean)
}

/** What inputs hold at the beginning. `object`: the values of the object, or those that a new one is to have. */
export function rawValues(fields: readonly Field[], mode: Mode, object: Values = {}): RawObject {
  return Object.fromEntries(
    fields.map((field) => {
      if (mode === 'create' && !(field.name in object)) return [field.name, field.none ? '' : toRaw(field, field.default)]
      return [field.name, field.kind === 'secret' && object[field.name] === null ? '' : toRaw(field, object[field.name])]
    }),
  )
}

/**
 * The values that a request has to have. On update: those that differ from the object's. On create: those that differ
 * from the defaults, so that the service's own defaults and profiles hold, and those of `object`, which the form began with.
 */
export function changedValues(fields: readonly Field[], mode: Mode, raw: RawObject, object: Values = {}): Values {
  const before = rawValues(fields, mode, object)
  const changed: Values = {}
  for (const field of fields) {
    const value = valueIn(field, raw)
    if (value === undefined) continue
    const same = JSON.stringify(value) === JSON.stringify(valueIn(field, before))
    if (!same || (mode === 'create' && (field.required || field.name in object))) changed[field.name] = value
  }
  return changed
}

function valueIn(field: Field, raw: RawObject): unknown {
  const held = raw[field.name]
  return held === undefined ? undefined : fromRaw(field, held)
}

/** The attribute that a message of the API is about, empty if it names none of `names`. */
export function attributeOf(message: string, names: readonly string[]): string {
  const name = /Invalid input for (\S+)\. Reason/.exec(message)?.[1] ?? /Required attribute '([^']+)'/.exec(message)?.[1] ?? ''
  return names.includes(name) ? name : ''
}

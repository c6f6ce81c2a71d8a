/** The connections that the filter in the URL finds, and their counts by state; for the list and the map. */

import { connections } from './connections.svelte.ts'
import { parseFilter, testOf } from './filter.ts'
import { names } from './names.svelte.ts'
import { router } from './router.svelte.ts'
import { countStates, rowOf } from './rows.ts'

export class FilteredConnections {
  readonly text = $derived(router.query.get('q') ?? '')
  readonly filter = $derived(parseFilter(this.text))
  readonly rows = $derived(connections.list.map((item) => rowOf(item, names.project(item.project_id), names.service(item.vpnservice_id))))
  readonly found = $derived.by(() => {
    const test = testOf(this.filter)
    return this.rows.filter((row) => test(row.fields))
  })
  /** Of what the rest of the filter finds: each state is a filter of its own. */
  readonly counts = $derived.by(() => {
    const test = testOf(this.filter, 'state')
    return countStates(this.rows.filter((row) => test(row.fields)))
  })
}

/** Server-sent events (HTML Living Standard, 9.2), read from a fetch: EventSource cannot send headers. */

export interface ServerEvent {
  id: string
  event: string
  data: string
}

/** The events of a stream of bytes. An event may have an id and no data. */
export async function* parseEvents(stream: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    rest += value
    const blocks = rest.split(/\r?\n\r?\n/)
    rest = blocks.pop() ?? ''
    for (const block of blocks) yield parseEvent(block)
  }
}

/** One event from its lines. */
export function parseEvent(block: string): ServerEvent {
  const fields: Record<string, string[]> = {}
  for (const line of block.split(/\r?\n/)) {
    const [name = '', ...value] = line.split(':')
    ;(fields[name] ??= []).push(value.join(':').replace(/^ /, ''))
  }
  return { id: fields.id?.at(-1) ?? '', event: fields.event?.at(-1) ?? '', data: fields.data?.join('\n') ?? '' }
}

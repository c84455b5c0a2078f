// What both scripts share: the job from standard input, the certificate for undici, and the SME in between.
//
// A script reads one JSON line, the job; writes {"open": url} when the SME's browser is wanted; reads {"callback": url} when it has
// come back; and writes what it was told by the server, {"told": {...}}, at the end. An exception of a library ends it with status 1.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Agent, fetch } from 'undici'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

const read = async () => JSON.parse((await lines.next()).value)
const write = (document) => process.stdout.write(`${JSON.stringify(document)}\n`)

export const job = await read()

const agent = new Agent({
  connect: {
    ca: readFileSync(job.server_ca),
    cert: readFileSync(job.client.chain),
    key: readFileSync(job.client.key),
    minVersion: 'TLSv1.3',
  },
})

/** The fetch that both libraries' documentation shows for mutual TLS. */
export const mutualTls = (url, options) => fetch(url, { ...options, dispatcher: agent })

/** Sends the SME's browser to a URL; answers the URL that it came back to. */
export async function browse(url) {
  write({ open: url.href })
  return new URL((await read()).callback)
}

/** The data call, with the library's own request: a CAP's months, or the readings of the first source that an EDP lists. */
export async function fetchData(get) {
  let url = job.data
  if (job.sources) {
    const listed = await (await get(new URL(job.sources))).json()
    url = url.replace('{id}', encodeURIComponent(listed.data[0].id))
  }
  const answer = await get(new URL(url))
  const { data, provenance } = await answer.json()
  return { status: answer.status, items: data?.length, provenance: provenance !== undefined }
}

/** Ends the script with what the server said. */
export async function finish(told) {
  write({ told })
  await agent.close()
  process.exit(0)
}

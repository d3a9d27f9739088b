/**
 * One file, from a hub into a blob of the cache: on from where it was left, and not a blob before all of it is what the hub lists.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { isFile } from "./file_hash.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import type { HubClient } from "./hub_client.ts";
import { faultOf, HubFault, refusal } from "./hub_errors.ts";
import type { HubFile } from "./listing.ts";
import { PartialFile } from "./partial_file.ts";
import { Patience } from "./patience.ts";

/** Times that another file may come instead. */
const MOST_WRONG = 3;

/** Faults in a row: a network that is away for a minute ends no download of hours. */
const MOST_FAULTS = 12;

/** Answers to ranges that are none, in a row: after these, a file is taken from its beginning. */
const MOST_UNRANGED = 2;

/** What is fetched, and from where to where. */
export interface BlobRequest {
  readonly name: HubName;
  readonly commit: string;
  readonly file: HubFile;
  readonly blob: string;
  readonly partial: string;
  readonly signal: AbortSignal;
  /** Told of the bytes that are there. */
  readonly onBytes: (bytes: number) => void;
  /** Told of bytes that came over the network. */
  readonly onFetched: (bytes: number) => void;
}

/** Fetches a blob. Its lock is held by whoever calls. @throws {LatentmeshError} why it cannot be had; what has come of it is kept */
export async function downloadBlob(client: HubClient, request: BlobRequest): Promise<void> {
  const { name, file, blob, partial, signal, onBytes } = request;
  const patience = new Patience(
    {
      what: `fetch ${file.path} of ${formatHubName(name)}`,
      advice: "what has come is kept, and the same command goes on from there",
      mostFaults: MOST_FAULTS,
    },
    client.timing,
  );
  for (let wrong = 0; wrong < MOST_WRONG; wrong++) {
    await complete(client, request, patience);
    if (await isFile(partial, file, signal)) return await Deno.rename(partial, blob);
    await Deno.remove(partial);
    onBytes(0);
  }
  throw new LatentmeshError(
    "invalid_checkpoint",
    `Cannot use ${file.path} of ${
      formatHubName(name)
    }: what ${client.access.endpoint} gives has another hash than it lists (${MOST_WRONG} times); nothing of it is kept. A proxy, or HF_ENDPOINT, may be the reason`,
  );
}

/** Fetches until as many bytes are there as there should be. */
async function complete(client: HubClient, request: BlobRequest, patience: Patience): Promise<void> {
  const { file, partial, signal, onBytes } = request;
  let unranged = 0;
  using part = await PartialFile.open(partial, file.size);
  onBytes(part.size);
  while (part.size < file.size) {
    const from = part.size;
    try {
      for await (const bytes of rest(client, request, from, unranged >= MOST_UNRANGED)) {
        await part.write(bytes.subarray(0, file.size - part.size));
        onBytes(part.size);
        if (part.size === file.size) break;
      }
      if (part.size < file.size) throw new HubFault(`the server ended ${file.path} after ${part.size} of ${file.size} bytes`);
    } catch (error) {
      if (!(error instanceof HubFault)) throw error;
      if (part.size > from) patience.progressed();
      if (error instanceof UnrangedFault) unranged++;
      await patience.after(error, signal);
    }
  }
  patience.progressed();
  await part.sync();
}

/** The server does not go on from where it was asked to. */
class UnrangedFault extends HubFault {}

/** Bytes from `from` on. @param skips whether what comes before may come, too, and is dropped */
async function* rest(
  client: HubClient,
  { name, commit, file, signal, onFetched }: BlobRequest,
  from: number,
  skips: boolean,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const headers: Record<string, string> = from === 0 || skips ? {} : { range: `bytes=${from}-` };
  const answer = await client.open(client.fileUrl(name.repository, commit, file.path), { headers, signal });
  try {
    const { response, own } = answer;
    const fault = faultOf(response);
    if (fault !== null) throw fault;
    if (!response.ok) {
      if (own && response.status !== 416) throw refusal(response, name, client.access, file.path);
      // Whoever the hub sent us to has addresses that run out.
      throw new UnrangedFault(`the server answers ${response.status}`);
    }
    let skip = from - beginOf(response, from, file.size);
    if (skip > 0 && !skips) throw new UnrangedFault("the server begins anew");
    for await (const bytes of answer.body()) {
      onFetched(bytes.length);
      const dropped = Math.min(skip, bytes.length);
      skip -= dropped;
      if (dropped < bytes.length) yield bytes.subarray(dropped);
    }
  } finally {
    await answer.close();
  }
}

/** The first byte of an answer. @throws {HubFault} if it belongs to a file of another size, or comes after what is needed */
function beginOf({ status, headers }: Response, from: number, size: number): number {
  if (status === 206) {
    const [, begin, all] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
    if (begin === undefined || Number(begin) > from) throw new UnrangedFault("the server gives another part than was asked for");
    if (all !== "*" && Number(all) !== size) throw new HubFault(`the server gives a file of ${all} bytes, and has listed one of ${size}`);
    return Number(begin);
  }
  const length = headers.get("content-length");
  if (status === 200 && length !== null && Number(length) !== size) {
    throw new HubFault(`the server gives a file of ${length} bytes, and has listed one of ${size}`);
  }
  return 0;
}

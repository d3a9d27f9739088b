/**
 * Some bytes of a file on a hub, in memory.
 *
 * @module
 */
import type { HubClient } from "./hub_client.ts";
import { faultOf, HubFault, refusal } from "./hub_errors.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import type { HubFile } from "./listing.ts";
import { Patience } from "./patience.ts";

/** Which bytes. */
export interface RangeRequest {
  readonly name: HubName;
  readonly commit: string;
  readonly file: HubFile;
  readonly begin: number;
  readonly end: number;
  readonly signal: AbortSignal;
}

/** Fetches bytes `begin … end`. @throws {LatentmeshError} why they cannot be had */
export async function fetchRange(client: HubClient, request: RangeRequest): Promise<Uint8Array<ArrayBuffer>> {
  const { name, file, begin, end, signal } = request;
  if (begin === end) return new Uint8Array();
  const patience = new Patience({ what: `read ${file.path} of ${formatHubName(name)}` }, client.timing);
  for (;;) {
    try {
      return await once(client, request);
    } catch (error) {
      if (!(error instanceof HubFault)) throw error;
      await patience.after(error, signal);
    }
  }
}

async function once(client: HubClient, { name, commit, file, begin, end, signal }: RangeRequest): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - begin);
  const answer = await client.open(client.fileUrl(name.repository, commit, file.path), { headers: { range: `bytes=${begin}-${end - 1}` }, signal });
  try {
    const { response, own } = answer;
    const fault = faultOf(response);
    if (fault !== null) throw fault;
    if (!response.ok) {
      throw own && response.status !== 416
        ? refusal(response, name, client.access, file.path)
        : new HubFault(`the server answers ${response.status}`);
    }
    // Small files come whole from some servers.
    let skip = response.status === 206 ? 0 : begin;
    if (response.status === 206 && !response.headers.get("content-range")?.startsWith(`bytes ${begin}-`)) {
      throw new HubFault("the server gives another part than was asked for");
    }
    let filled = 0;
    for await (const part of answer.body()) {
      const dropped = Math.min(skip, part.length);
      skip -= dropped;
      const taken = part.subarray(dropped, dropped + bytes.length - filled);
      bytes.set(taken, filled);
      filled += taken.length;
      if (filled === bytes.length) return bytes;
    }
    throw new HubFault(`the server ended ${file.path} too early`);
  } finally {
    await answer.close();
  }
}

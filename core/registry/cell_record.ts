/**
 * What a cell says of itself where fronts look for cells. A cell is one coordinator with its workers: it needs nothing outside of itself to serve. No secret is part of
 * a record, and no time: clocks of hosts differ, so whether a cell lives is told by whether its record changes.
 *
 * @module
 */
import { z } from "zod";
import { messageOf } from "../errors.ts";
import { problemOf } from "../expected.ts";

/** What records mean. It goes up when a reader that knows only what was before would misread a record; what is merely new beside it, readers overlook. */
export const REGISTRY_PROTOCOL = 1;

/** Most spilled prefixes that a record names. */
export const MOST_SPILLED = 32;

/** What a cell may be called: it is part of names of files and of keys. */
export const CELL_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$/;

/** Where fronts reach a cell: they put paths behind it, and everybody who may look at cells sees it. */
export const cellUrl = z.url({ protocol: /^https?$/, error: "must be an address, http://HOST:PORT or https://HOST:PORT" })
  .regex(/^[^@?#]*$/, "must hold no user, no password and nothing behind the path");

const count = z.int().min(0);

const schema = z.object({
  protocol: z.int().min(1),
  id: z.string().regex(CELL_ID, "must be 1 to 127 letters, digits, dots, dashes or underscores, the first a letter or digit"),
  incarnation: z.int().min(1),
  instance: z.string().min(1).max(64),
  beat: count,
  url: cellUrl,
  version: z.string().max(64),
  model: z.string().min(1).max(512),
  created: count,
  maxContext: count,
  weights: z.string().max(128).nullable(),
  fingerprint: z.string().max(128).nullable(),
  state: z.enum(["loading", "ready", "draining"]),
  load: z.object({ running: count, waiting: count }),
  spilled: z.array(z.string().max(64)).max(MOST_SPILLED).default([]),
});

/** A cell. */
export interface CellRecord {
  /** See {@link REGISTRY_PROTOCOL}. */
  readonly protocol: number;
  /** Names it; another one for every cell at a time. */
  readonly id: string;
  /** Goes up whenever another process takes the name; older ones count no more. */
  readonly incarnation: number;
  /** Names the process. */
  readonly instance: string;
  /** Goes up whenever the record is written. */
  readonly beat: number;
  /** Where fronts reach it. */
  readonly url: string;
  /** Of the program. */
  readonly version: string;
  /** Its model's name in the API. */
  readonly model: string;
  /** Unix time in seconds at which the model was loaded; of the API, and compared with nothing. */
  readonly created: number;
  /** Tokens of a context; 0 while it is loading. */
  readonly maxContext: number;
  /** Digest of the model's files; null while that is not known. */
  readonly weights: string | null;
  /** What the bits of its answers depend on, see `fingerprint.ts`; null while that is not known: then it equals no other cell. */
  readonly fingerprint: string | null;
  readonly state: "loading" | "ready" | "draining";
  /** Requests that are decoding, and those that wait or are computed before. */
  readonly load: { readonly running: number; readonly waiting: number };
  /** Names of prefixes that it holds though they are others' by rendezvous: fronts sent them here while those had too much to do. The latest first. */
  readonly spilled: readonly string[];
}

/** A record that was read: it, or why it cannot be used, and whether that is because a newer release has written it. */
export type ReadRecord = { readonly record: CellRecord } | { readonly problem: string; readonly newer: boolean };

/** Reads a record. @param text JSON, as {@link writeRecord} writes it */
export function readRecord(text: string): ReadRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `it is not JSON: ${messageOf(error)}`, newer: false };
  }
  const protocol = typeof value === "object" && value !== null ? (value as { protocol?: unknown }).protocol : undefined;
  if (typeof protocol === "number" && protocol > REGISTRY_PROTOCOL) {
    return { problem: `it is of protocol ${protocol}, and this program reads ${REGISTRY_PROTOCOL} at most; update it`, newer: true };
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { record: parsed.data };
  const [issue] = parsed.error.issues;
  return { problem: `${issue.path.join(".")}: ${problemOf(schema, issue, value)}`, newer: false };
}

/** Writes a record, as JSON. */
export function writeRecord(record: CellRecord): string {
  return JSON.stringify(record);
}

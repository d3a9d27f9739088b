/**
 * Which cells there are, from what a reader sees of their records. A record that does not change is a cell that does not live: only the reader's own clock is asked,
 * and it never runs backwards. Pure bookkeeping.
 *
 * @module
 */
import { messageOf } from "../errors.ts";
import { type CellRecord, readRecord } from "./cell_record.ts";

/** Milliseconds without a change after which a cell counts as gone. */
export const CELL_TTL = 5000;
/** Milliseconds from one writing of a record to the next. */
export const CELL_BEAT = 1500;

/** What is in a registry, by where it is: texts of records, or why one of them cannot be read. */
export type RecordTexts = ReadonlyMap<string, string | Error>;

interface Known {
  readonly record: CellRecord;
  /** When it was last seen to be another than before, on the reader's clock. */
  readonly changed: number;
  readonly place: string;
  /** What a process has said last that counts less than this one. */
  other: CellRecord | null;
}

/** Cells, as one reader knows them. */
export class Membership {
  readonly #ttl: number;
  readonly #known = new Map<string, Known>();
  /** Records that cannot be used, by where they are. */
  readonly #refused = new Map<string, string>();
  readonly #onProblem: (place: string, problem: string) => void;
  #live: readonly CellRecord[] = [];

  /** @param options.onProblem told once of each record that cannot be used */
  constructor(
    { ttl = CELL_TTL, onProblem = () => {} }: { readonly ttl?: number; readonly onProblem?: (place: string, problem: string) => void } = {},
  ) {
    this.#ttl = ttl;
    this.#onProblem = onProblem;
  }

  /** Cells that live; the same array until something of them changes. */
  get live(): readonly CellRecord[] {
    return this.#live;
  }

  /** Takes in all records that there are. @returns whether cells have changed */
  see(texts: RecordTexts, now: number): boolean {
    const seen = new Set<string>();
    for (const place of this.#refused.keys()) if (!texts.has(place)) this.#refused.delete(place);
    for (const [place, text] of texts) {
      const read = typeof text === "string" ? readRecord(text) : { problem: `it cannot be read: ${messageOf(text)}` };
      if ("problem" in read) {
        if (this.#refused.get(place) !== read.problem) this.#onProblem(place, read.problem);
        this.#refused.set(place, read.problem);
        continue;
      }
      this.#refused.delete(place);
      seen.add(read.record.id);
      this.#take(place, read.record, now);
    }
    for (const [id, known] of this.#known) {
      const { record, changed, place } = known;
      // What cannot be read may have changed meanwhile, for as long as that lasts: whoever asks such a cell finds out whether it is there.
      if (texts.get(place) instanceof Error && this.#live.includes(record)) this.#known.set(id, { ...known, changed: now });
      // A cell that ends says so before. What is gone without a word may be the registry's loss, which cells make good at their next beat.
      else if (!seen.has(id) && (record.state === "draining" || now - changed >= this.#ttl)) this.#known.delete(id);
    }
    return this.#sweep(now);
  }

  /** Nothing could be read: cells stay as they were last seen. Their time begins anew when records can be read again. */
  blind(now: number): void {
    const live = new Set(this.#live);
    for (const [id, known] of this.#known) if (live.has(known.record)) this.#known.set(id, { ...known, changed: now });
  }

  #take(place: string, record: CellRecord, now: number): void {
    const known = this.#known.get(record.id);
    if (known === undefined || isNewer(record, known.record)) {
      this.#known.set(record.id, { record, changed: now, place, other: null });
    } else if (record.instance !== known.record.instance) {
      // A registry that has lost everything counts processes from the beginning: whoever beats under the name of a cell that is gone has it.
      const beats = known.other !== null && known.other.instance === record.instance && record.beat > known.other.beat;
      if (beats && now - known.changed >= this.#ttl) this.#known.set(record.id, { record, changed: now, place, other: null });
      else known.other = record;
    }
  }

  #sweep(now: number): boolean {
    const live = [...this.#known.values()].filter(({ changed }) => now - changed < this.#ttl).map(({ record }) => record);
    if (live.length === this.#live.length && live.every((record, i) => record === this.#live[i])) return false;
    this.#live = live;
    return true;
  }
}

/** Whether one record says something that another of the same cell does not: of an older incarnation, nothing counts. */
function isNewer(record: CellRecord, before: CellRecord): boolean {
  if (record.incarnation !== before.incarnation) return record.incarnation > before.incarnation;
  // Of two processes that took the name at once, everybody must believe the same one.
  if (record.instance !== before.instance) return record.instance > before.instance;
  return record.beat > before.beat;
}

/** Whether a record is of a process that took the name after, or at once with, another one and keeps it. */
export function supersedes(record: CellRecord, own: Pick<CellRecord, "incarnation" | "instance">): boolean {
  if (record.instance === own.instance) return false;
  return record.incarnation !== own.incarnation ? record.incarnation > own.incarnation : record.instance > own.instance;
}

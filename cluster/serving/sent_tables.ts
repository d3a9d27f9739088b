/**
 * What a unit's ranks have been given for queries to refer to. Adjustments of a request are sent once, and then only what each token changes; a mask that a
 * grammar comes back to is sent once for all sequences.
 *
 * @module
 */
import type { LogitsQuery } from "../../core/generation.ts";
import { type Adjustment, mergeAdjustments } from "../../core/sampling/adjustments.ts";
import type { RequestOf } from "../../core/wire/messages.ts";
import { encodeTables, type QueryFrame } from "../../core/wire/queries.ts";

/** A query, and whose: an object that lives as long as its ranks remember the sequence; null where they do not. */
export interface Asked {
  readonly query: LogitsQuery;
  readonly by: object | null;
  /** Of a draft's token: what it and those before it change of the adjustments of the query before, which stay as they are. */
  readonly ahead?: readonly Adjustment[];
}

/** Tables that must be sent before the queries which refer to them. */
export interface TableFrame extends Omit<RequestOf<"tables">, "epoch"> {
  readonly payload: Uint32Array<ArrayBuffer>;
}

/** Words of one frame, unless one table has more. */
const FRAME_WORDS = 1 << 20;

/** Words that ranks keep, unless one step needs more. */
const MOST_WORDS = 1 << 23;

/** More changes than this are sent as a table, so that queries stay small. */
const MOST_CHANGES = 64;

type Table = { readonly id: number; readonly adjustments: readonly Adjustment[] } | { readonly id: number; readonly mask: Uint32Array };

/** Tables that the ranks of one unit have in its current epoch. */
export class SentTables {
  #epoch = -1;
  #last = 0;
  /** The least recently used ones first. */
  readonly #tables = new Map<number, Table>();
  #words = 0;
  #bases = new WeakMap<readonly Adjustment[], number>();
  #masks = new WeakMap<Uint32Array, number>();
  /** Masks by a hash of their words. */
  readonly #hashed = new Map<number, number>();
  readonly #mostWords: number;
  /** How much of a sequence's log its ranks know. */
  #known = new WeakMap<object, { readonly of: object; length: number }>();

  /** @param mostWords that ranks keep, unless one step needs more */
  constructor(mostWords = MOST_WORDS) {
    this.#mostWords = mostWords;
  }

  /** Queries as they travel, and what must travel before them. @param epoch of the unit; another one begins with nothing */
  refer(epoch: number, asked: readonly Asked[]): { readonly tables: readonly TableFrame[]; readonly queries: readonly QueryFrame[] } {
    if (epoch !== this.#epoch) this.#reset(epoch);
    const first = this.#last + 1;
    const used = new Set<number>();
    const queries = asked.map(({ query: { adjustments, mask, ...query }, by, ahead }): QueryFrame => {
      const changed = ahead === undefined ? this.#referAdjustments(adjustments, by) : { base: null, changes: ahead };
      const frame = { ...query, ...changed, mask: mask === null ? null : this.#maskId(mask) };
      for (const id of [frame.base, frame.mask]) if (id !== null) used.add(id);
      return frame;
    });
    const made = [...this.#tables.values()].filter(({ id }) => id >= first);
    return { tables: framesOf(made, this.#forget(used)), queries };
  }

  #referAdjustments(adjustments: LogitsQuery["adjustments"], by: object | null): Pick<QueryFrame, "base" | "changes"> {
    const { base, log } = adjustments;
    const known = by === null ? undefined : this.#known.get(by);
    if (by !== null) this.#known.set(by, { of: adjustments, length: log.length });
    const goesOn = known?.of === adjustments;
    const changes = goesOn ? log.slice(known.length) : log;
    if (changes.length > MOST_CHANGES) return { base: this.#add({ adjustments: mergeAdjustments(adjustments) }), changes: [] };
    return { base: goesOn ? null : base.length === 0 ? 0 : this.#baseId(base), changes };
  }

  #baseId(base: readonly Adjustment[]): number {
    const id = this.#use(this.#bases.get(base)) ?? this.#add({ adjustments: base });
    this.#bases.set(base, id);
    return id;
  }

  #maskId(mask: Uint32Array): number {
    const hash = hashOf(mask);
    const id = this.#use(this.#masks.get(mask)) ?? this.#use(this.#equal(mask, this.#hashed.get(hash))) ?? this.#add({ mask });
    this.#masks.set(mask, id);
    this.#hashed.set(hash, id);
    return id;
  }

  #equal(mask: Uint32Array, id: number | undefined): number | undefined {
    const table = id === undefined ? undefined : this.#tables.get(id);
    return table !== undefined && "mask" in table && table.mask.length === mask.length && table.mask.every((word, i) => word === mask[i])
      ? id
      : undefined;
  }

  /** @returns the id, if there still is such a table */
  #use(id: number | undefined): number | undefined {
    const table = id === undefined ? undefined : this.#tables.get(id);
    if (table === undefined) return undefined;
    this.#tables.delete(table.id);
    this.#tables.set(table.id, table);
    return id;
  }

  #add(table: { readonly adjustments: readonly Adjustment[] } | { readonly mask: Uint32Array }): number {
    const id = ++this.#last;
    this.#tables.set(id, { id, ...table });
    this.#words += wordsOf(table);
    return id;
  }

  /** Makes room. @param used by what is sent next */
  #forget(used: ReadonlySet<number>): number[] {
    const forgotten: number[] = [];
    for (const [id, table] of this.#tables) {
      if (this.#words <= this.#mostWords) break;
      if (used.has(id)) continue;
      this.#tables.delete(id);
      this.#words -= wordsOf(table);
      forgotten.push(id);
    }
    return forgotten;
  }

  #reset(epoch: number): void {
    this.#epoch = epoch;
    this.#tables.clear();
    this.#words = 0;
    this.#bases = new WeakMap();
    this.#masks = new WeakMap();
    this.#hashed.clear();
    this.#known = new WeakMap();
  }
}

function framesOf(made: readonly Table[], forget: readonly number[]): TableFrame[] {
  const frames: TableFrame[] = [];
  for (let at = 0; at < made.length || (forget.length > 0 && frames.length === 0);) {
    const part: Table[] = [];
    for (let words = 0; at < made.length && (part.length === 0 || words + wordsOf(made[at]) <= FRAME_WORDS); at++) {
      part.push(made[at]);
      words += wordsOf(made[at]);
    }
    const adjustments = part.flatMap((table) => "adjustments" in table ? [table] : []);
    const masks = part.flatMap((table) => "mask" in table ? [table] : []);
    frames.push({
      forget: frames.length === 0 ? [...forget] : [],
      adjustments: adjustments.map(({ id, adjustments: { length } }) => ({ table: id, count: length })),
      masks: masks.map(({ id, mask: { length } }) => ({ table: id, words: length })),
      payload: encodeTables(adjustments.map((table) => table.adjustments), masks.map(({ mask }) => mask)),
    });
  }
  return frames;
}

function wordsOf(table: { readonly adjustments: readonly Adjustment[] } | { readonly mask: Uint32Array }): number {
  return "mask" in table ? table.mask.length : 3 * table.adjustments.length;
}

/** FNV-1a over whole words. */
function hashOf(words: Uint32Array): number {
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return hash >>> 0;
}

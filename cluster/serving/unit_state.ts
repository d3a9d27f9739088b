/**
 * What serving remembers of each unit.
 *
 * @module
 */
import type { Unit } from "../fleet/unit.ts";
import type { ChunkSizesOptions } from "./chunk_sizes.ts";
import { ChunkTurns } from "./chunk_turns.ts";
import { SentTables } from "./sent_tables.ts";

/** Of one unit. */
export interface UnitState {
  /** What its ranks have been given for queries to refer to. */
  readonly tables: SentTables;
  /** Of chunks that it computes between steps, where it is a mixed one. */
  readonly chunks: ChunkTurns;
  /** When its last step ended, in milliseconds; null where something else has come since. */
  stepEnd: number | null;
}

/** Of all units. */
export class UnitStates {
  readonly #states = new WeakMap<Unit, UnitState>();
  readonly #chunks: ChunkSizesOptions;

  constructor(chunks: ChunkSizesOptions) {
    this.#chunks = chunks;
  }

  /** The state of a unit, which begins with nothing. */
  of(unit: Unit): UnitState {
    const known = this.#states.get(unit);
    if (known !== undefined) return known;
    const state: UnitState = { tables: new SentTables(), chunks: new ChunkTurns(this.#chunks), stepEnd: null };
    this.#states.set(unit, state);
    return state;
  }
}

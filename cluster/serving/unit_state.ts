/**
 * What serving remembers of each unit.
 *
 * @module
 */
import type { Unit } from "../fleet/unit.ts";
import type { PrefillChunk } from "../scheduler/plan.ts";
import { ChunkSizes, type ChunkSizesOptions } from "./chunk_sizes.ts";
import { SentTables } from "./sent_tables.ts";

/** How far a chunk is. */
export interface ChunkProgress {
  /** Layers that are computed or under way. */
  layers: number;
  /** Milliseconds of those that are computed. */
  milliseconds: number;
}

/** Layers of a chunk that were begun with. */
export interface LayersUnderWay {
  readonly chunk: PrefillChunk;
  /** Milliseconds. */
  readonly since: number;
}

/** Of one unit. */
export interface UnitState {
  /** What its ranks have been given for queries to refer to. */
  readonly tables: SentTables;
  /** Of chunks that it computes between steps, where it is a mixed one. */
  readonly chunks: ChunkSizes;
  /** Layers of a chunk that are not known to be computed: whatever comes next is computed behind them. */
  underWay: LayersUnderWay | null;
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
    const state: UnitState = { tables: new SentTables(), chunks: new ChunkSizes(this.#chunks), underWay: null, stepEnd: null };
    this.#states.set(unit, state);
    return state;
  }
}

/**
 * Requests that cells are computing. A cell whose machine is gone closes no connection: who is not heard of in the registry, and says nothing, is given up.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";

/** Milliseconds of silence after which a cell that is not registered any more is given up. */
const SILENCE = 5000;

interface Live {
  readonly cell: CellRecord;
  readonly abort: AbortController;
  heard: number;
}

/** Attempts that have not ended. */
export class LiveAttempts {
  readonly #all = new Set<Live>();

  /** An attempt begins. @returns what ends it, and what is to be told of it */
  begin(cell: CellRecord): { readonly abort: AbortController; readonly heard: () => void; readonly leave: () => void } {
    const live: Live = { cell, abort: new AbortController(), heard: performance.now() };
    this.#all.add(live);
    return { abort: live.abort, heard: () => void (live.heard = performance.now()), leave: () => void this.#all.delete(live) };
  }

  /** Those that have not ended. */
  get size(): number {
    return this.#all.size;
  }

  /** Gives up what nothing can be expected of. @param lives whether a cell is registered */
  sweep(lives: (cell: CellRecord) => boolean, now: number, silence = SILENCE): void {
    for (const { cell, abort, heard } of this.#all) {
      if (now - heard > silence && !lives(cell)) abort.abort(new Error("it is registered no longer, and says nothing"));
    }
  }
}

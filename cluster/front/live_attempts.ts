/**
 * Requests that cells are computing. A cell whose machine is gone closes no connection, and one that hangs answers none: who says nothing is given up when it is not
 * heard of in the registry, or does not answer when it is asked whether it is there.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";

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

  /** Cells of which some attempt has heard nothing since then, each once. */
  silentSince(time: number): CellRecord[] {
    const cells = new Map<string, CellRecord>();
    for (const { cell, heard } of this.#all) if (heard <= time) cells.set(keyOf(cell), cell);
    return [...cells.values()];
  }

  /** A process answers: long prompts take long. */
  heardOf(cell: CellRecord, now: number): void {
    for (const live of this.#all) if (keyOf(live.cell) === keyOf(cell)) live.heard = Math.max(live.heard, now);
  }

  /** Gives up what a process has said nothing of since then. */
  giveUp(cell: CellRecord, since: number, reason: Error): void {
    for (const live of this.#all) if (keyOf(live.cell) === keyOf(cell) && live.heard <= since) live.abort.abort(reason);
  }
}

function keyOf({ id, instance }: CellRecord): string {
  return `${id} ${instance}`;
}

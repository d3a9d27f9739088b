/**
 * Where cells say that they are there, and fronts look for them. A registry carries membership only: no prompt, no token and no latent goes through it, and cells
 * serve without it.
 *
 * @module
 */
import type { CellRecord } from "./cell_record.ts";

/** What a cell says of itself; the registry adds who wrote it and when it changed. */
export type CellFacts = Omit<CellRecord, "protocol" | "incarnation" | "instance" | "beat">;

/** A cell's place in a registry. */
export interface Registration extends AsyncDisposable {
  /** Says at once what has become of the cell; otherwise its facts are asked for at every beat. */
  refresh(): void;
  /** Takes the record away. */
  close(): Promise<void>;
}

/** Cells as they are known. */
export interface CellWatch extends AsyncDisposable {
  /** Cells that live, as last seen; the same array until something of them changes. */
  readonly cells: readonly CellRecord[];
  /** Milliseconds since the registry was last read; what was read last holds until then. */
  readonly age: number;
  close(): Promise<void>;
}

/** A registry. */
export interface CellRegistry {
  /** How it was named. */
  readonly name: string;
  /**
   * Registers a cell, and keeps its record fresh.
   *
   * @param facts asked at every beat; the id must stay the same
   * @param onLost told once if another process has taken the id: this one is registered no longer
   * @throws {LatentmeshError} `invalid_config` if a cell that lives has the id, `capacity` if the registry cannot be written
   */
  register(facts: () => CellFacts, onLost: (problem: string) => void): Promise<Registration>;
  /** Begins to look for cells; has looked once when it resolves. @throws {LatentmeshError} `not_found` if the registry cannot be read */
  watch(onChange: () => void): Promise<CellWatch>;
}

/**
 * Records of cells for tests and benches.
 *
 * @module
 */
import { type CellRecord, REGISTRY_PROTOCOL } from "../../core/registry/cell_record.ts";
import type { CellFacts } from "../../core/registry/registry.ts";

/** What a cell with nothing to do says of itself, so changed. */
export function cellFacts(change: Partial<CellFacts> = {}): CellFacts {
  return {
    id: "a",
    url: "http://127.0.0.1:1",
    version: "0.1.0",
    model: "tiny-mla",
    created: 1_700_000_000,
    maxContext: 2048,
    weights: null,
    fingerprint: null,
    state: "ready",
    load: { running: 0, waiting: 0 },
    spilled: [],
    ...change,
  };
}

/** Its first record, so changed. */
export function cellRecord(
  { protocol = REGISTRY_PROTOCOL, incarnation = 1, instance = "first", beat = 0, ...facts }: Partial<CellRecord> = {},
): CellRecord {
  return { protocol, incarnation, instance, beat, ...cellFacts(facts) };
}

/**
 * How layers of each kind are decoded on matrix units: up to how many rows in which division, by the bits of a weight. Parts of the columns, which decide the bits of a
 * result, are alike for all rows of a kind. `deno task bench linear --write` measures divisions and writes this file.
 *
 * @module
 */
import type { UnitsDivision } from "./batch_units.ts";
import type { LayerKind } from "./layer_kind.ts";

/** Divisions of each kind by ascending number of rows. */
export type UnitsTable = Readonly<Record<LayerKind, readonly (readonly [upTo: number, division: UnitsDivision])[]>>;

/** By the bits of a weight; there is none for f32, which asks for more than matrix units give. */
export const UNITS_TABLES: Readonly<Partial<Record<number, UnitsTable>>> = {
  // Measured on an H200 (Dawn, driver 580.159.04): v2-lite, bf16.
  16: {
    narrow: [
      [16, { columnParts: 8, outputParts: 1, outputTiles: 1, items: 16, depth: 128, ahead: 4 }],
      [32, { columnParts: 8, outputParts: 1, outputTiles: 1, items: 32, depth: 128, ahead: 2 }],
      [Infinity, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 64, depth: 128, ahead: 2 }],
    ],
    wide: [
      [16, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 16, depth: 64, ahead: 4 }],
      [32, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 32, depth: 64, ahead: 2 }],
      [Infinity, { columnParts: 4, outputParts: 2, outputTiles: 2, items: 64, depth: 64, ahead: 1 }],
    ],
    head: [
      [16, { columnParts: 8, outputParts: 1, outputTiles: 1, items: 16, depth: 256, ahead: 2 }],
      [32, { columnParts: 8, outputParts: 1, outputTiles: 1, items: 32, depth: 128, ahead: 2 }],
      [Infinity, { columnParts: 8, outputParts: 1, outputTiles: 1, items: 64, depth: 128, ahead: 2 }],
    ],
    expertUp: [
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 16, depth: 64, ahead: 4 }],
    ],
    expertDown: [
      [Infinity, { columnParts: 1, outputParts: 4, outputTiles: 1, items: 16, depth: 64, ahead: 2 }],
    ],
  },
  // Measured on NVIDIA: 580.159.04 580.159.4.0: kimi-k2, fp8.
  8: {
    narrow: [
      [16, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 16, depth: 128, ahead: 4 }],
      [32, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 32, depth: 128, ahead: 2 }],
      [Infinity, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 64, depth: 128, ahead: 2 }],
    ],
    wide: [
      [16, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 16, depth: 64, ahead: 2 }],
      [32, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 32, depth: 64, ahead: 2 }],
      [Infinity, { columnParts: 4, outputParts: 2, outputTiles: 2, items: 64, depth: 64, ahead: 2 }],
    ],
    head: [
      [16, { columnParts: 4, outputParts: 1, outputTiles: 1, items: 16, depth: 128, ahead: 4 }],
      [32, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 32, depth: 64, ahead: 2 }],
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 64, depth: 64, ahead: 2 }],
    ],
    expertUp: [
      [Infinity, { columnParts: 2, outputParts: 2, outputTiles: 2, items: 16, depth: 64, ahead: 4 }],
    ],
    expertDown: [
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 16, depth: 64, ahead: 2 }],
    ],
  },
  // Measured on NVIDIA: 580.159.04 580.159.4.0: kimi-k2, q4.
  4: {
    narrow: [
      [16, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 16, depth: 128, ahead: 4 }],
      [32, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 32, depth: 128, ahead: 2 }],
      [Infinity, { columnParts: 8, outputParts: 1, outputTiles: 2, items: 64, depth: 128, ahead: 2 }],
    ],
    wide: [
      [16, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 16, depth: 64, ahead: 2 }],
      [32, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 32, depth: 64, ahead: 2 }],
      [Infinity, { columnParts: 4, outputParts: 2, outputTiles: 4, items: 64, depth: 64, ahead: 1 }],
    ],
    head: [
      [16, { columnParts: 4, outputParts: 1, outputTiles: 1, items: 16, depth: 128, ahead: 4 }],
      [32, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 32, depth: 64, ahead: 2 }],
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 2, items: 64, depth: 64, ahead: 2 }],
    ],
    expertUp: [
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 16, depth: 64, ahead: 4 }],
    ],
    expertDown: [
      [Infinity, { columnParts: 4, outputParts: 1, outputTiles: 4, items: 16, depth: 64, ahead: 4 }],
    ],
  },
};

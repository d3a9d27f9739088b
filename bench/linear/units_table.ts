/**
 * The quickest divisions of layers on matrix units, chosen and written as the table that decode goes by.
 *
 * @module
 */
import type { UnitsDivision } from "../../kernels/linear/batch_units.ts";
import type { LayerKind } from "../../kernels/linear/layer_kind.ts";
import type { UnitsTable } from "../../kernels/linear/units_table.ts";

/** Where the table is. */
export const TABLE_URL = new URL("../../kernels/linear/units_table.ts", import.meta.url);

/** What one division takes for so many rows of all layers of a kind in a step. */
export interface UnitsTiming {
  readonly kind: LayerKind;
  /** The table's row that it is tried for. */
  readonly upTo: number;
  readonly rows: number;
  readonly division: UnitsDivision;
  readonly ms: number;
}

/**
 * The quickest division for each number of rows, of those with as many parts of the columns, for as many as are quickest on the whole. Times count in relation to the
 * least for as many rows, so that a step of one row counts as much as one of many.
 */
export function chooseUnits(timings: readonly UnitsTiming[]): Partial<UnitsTable> {
  const table: Record<string, UnitsTable[LayerKind]> = {};
  for (const [kind, ofKind] of Map.groupBy(timings, ({ kind }) => kind)) {
    const least = (rows: number) => Math.min(...ofKind.filter((timing) => timing.rows === rows).map(({ ms }) => ms));
    const buckets = [...Map.groupBy(ofKind, ({ upTo }) => upTo)].toSorted(([a], [b]) => a - b);
    const alike = [...new Set(ofKind.map(({ division }) => division.columnParts))].map((parts) => {
      const chosen = buckets.map(([upTo, ofBucket]) => {
        const scores = [...Map.groupBy(ofBucket, ({ division }) => division)].filter(([division]) => division.columnParts === parts)
          .map(([division, all]) => ({ division, score: all.reduce((sum, { rows, ms }) => sum + ms / least(rows), 0) }));
        return { upTo, ...scores.reduce((a, b) => (b.score < a.score ? b : a), { division: null as UnitsDivision | null, score: Infinity }) };
      });
      return { chosen, score: chosen.reduce((sum, { score }) => sum + score, 0) };
    });
    const best = alike.reduce((a, b) => (b.score < a.score ? b : a));
    table[kind] = best.chosen.map(({ upTo, division }) => {
      if (division === null) throw new TypeError(`No parts of the columns were tried for all rows of ${kind} layers`);
      return [upTo, division] as const;
    });
  }
  return table;
}

/** The file's text with another table for weights of so many bits. @param origin what it is from, a sentence without a full stop */
export function withTable(file: string, bits: number, table: UnitsTable, origin: string): string {
  const begin = new RegExp(`^  // .*\\n  ${bits}: \\{\\n`, "m").exec(file)!;
  const end = file.indexOf("\n  },\n", begin.index) + "\n  },\n".length;
  const rows = (kind: LayerKind) =>
    table[kind].map(([upTo, { columnParts, outputParts, outputTiles, items, depth, ahead }]) => {
      const fields = { columnParts, outputParts, outputTiles, items, depth, ahead };
      return `      [${upTo}, { ${Object.entries(fields).map(([name, value]) => `${name}: ${value}`).join(", ")} }],\n`;
    }).join("");
  const kinds = (Object.keys(table) as LayerKind[]).map((kind) => `    ${kind}: [\n${rows(kind)}    ],\n`).join("");
  return `${file.slice(0, begin.index)}  // ${origin}.\n  ${bits}: {\n${kinds}  },\n${file.slice(end)}`;
}

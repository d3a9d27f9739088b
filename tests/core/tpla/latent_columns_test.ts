import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { latentColumns, possibleWidths, widthStep } from "../../../core/tpla/latent_columns.ts";
import { columnIndices } from "../../../core/tpla/partition.ts";
import { groupsWithin } from "../../../core/tpla/scale_groups.ts";

const SEED = 20261130;

describe("latentColumns of a width", () => {
  it("gives every group as many keys, its values among them, and first directions; values are the whole latent, once", () => {
    const numbers = fc.record({
      latentWidth: fc.constantFrom(4, 20, 24, 48, 61, 128, 512),
      latentGroups: fc.constantFrom(2, 3, 4, 8),
      width: fc.integer({ min: 1, max: 520 }),
    });
    fc.assert(
      fc.property(numbers, ({ latentWidth, latentGroups, width }) => {
        const cut = { latentGroups, halo: 0, width };
        const groups = latentColumns(latentWidth, cut);
        if (width > latentWidth || width * latentGroups < latentWidth) return assertEquals(groups, null);
        if (groups === null) return;
        assertEquals(groups.length, latentGroups);
        assertEquals(columnIndices(groups.map(({ valueColumns }) => valueColumns)), Array.from({ length: latentWidth }, (_, i) => i));
        const [whole] = latentColumns(latentWidth, { latentGroups: 1, halo: 0 }, cut)!;
        for (const { keyColumns, keyWidth, valueColumns, valueOffset, scaleGroups } of groups) {
          const [keys, values] = [columnIndices(keyColumns), columnIndices([valueColumns])];
          assertEquals([keys.length, keyWidth, new Set(keys).size], [width, width, width]);
          assert(values.length > 0);
          assertEquals(keys.slice(valueOffset, valueOffset + values.length), values);
          // What it has beside its values are the first directions that are not among them.
          const others = Array.from({ length: latentWidth }, (_, i) => i).filter((i) => !values.includes(i));
          assertEquals(keys.filter((key) => !values.includes(key)), others.slice(0, width - values.length));
          assertEquals(groupsWithin(whole.scaleGroups, keyColumns).map((group) => whole.scaleGroups[group]), scaleGroups);
        }
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  it("is possible in steps that kernels for matrix units take, up to the whole latent, which is exact", () => {
    assertEquals([widthStep(128, 2), widthStep(512, 8), widthStep(128, 16), widthStep(24, 2), widthStep(61, 4)], [16, 16, 8, 8, 1]);
    assertEquals(possibleWidths(128, 2), [64, 80, 96, 112, 128]);
    assertEquals(possibleWidths(128, 4), [32, 48, 64, 80, 96, 112, 128]);
    for (const [latentWidth, latentGroups] of [[512, 2], [512, 4], [512, 8], [128, 8], [24, 3]]) {
      const widths = possibleWidths(latentWidth, latentGroups);
      const step = widthStep(latentWidth, latentGroups);
      assert(widths[0] * latentGroups >= latentWidth && widths[0] < latentWidth / latentGroups + step);
      assertEquals(widths.at(-1), latentWidth);
      for (const width of widths) {
        for (const { valueColumns: { begin, end }, valueOffset } of latentColumns(latentWidth, { latentGroups, halo: 0, width })!) {
          assertEquals([begin % step, end % step, valueOffset % step], [0, 0, 0]);
        }
      }
    }
  });

  it("has the first group's keys as its values, and others with as many first directions as they have room for", () => {
    const columns = (latentGroups: number, width: number) =>
      latentColumns(128, { latentGroups, halo: 0, width })!.map(({ keyColumns, valueColumns: { begin, end } }) => [
        keyColumns.map((range) => `${range.begin}-${range.end}`).join(" "),
        `${begin}-${end}`,
      ]);
    assertEquals(columns(2, 80), [["0-80", "0-80"], ["0-32 80-128", "80-128"]]);
    assertEquals(columns(4, 48), [["0-48", "0-48"], ["0-16 48-80", "48-80"], ["0-16 80-112", "80-112"], ["0-32 112-128", "112-128"]]);
    assertEquals(columns(4, 96), [["0-96", "0-80"], ["0-96", "80-96"], ["0-80 96-112", "96-112"], ["0-80 112-128", "112-128"]]);
    assertEquals(columns(2, 128), [["0-128", "0-64"], ["0-128", "64-128"]]);
  });
});

import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { matrixLayout } from "../../core/model/packing.ts";
import { divideForMatrixUnits, latentDecodeMatrix, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { decodeWays } from "../../kernels/linear/choose.ts";
import { matmulUnits, tileItemsFor } from "../../kernels/linear/matmul_units.ts";

describe("how steps of several rows are decoded", () => {
  const large = { layout: matrixLayout("bf16", 2048), outputs: 5632, matrices: 1, select: { kind: "all" } } as const;
  const small = { ...large, layout: matrixLayout("bf16", 320), outputs: 896 };
  const experts = { ...large, outputs: 2816, matrices: 64, select: { kind: "expert", perInput: 6 } } as const;

  it("covers every number of rows once, and one row by itself", () => {
    for (const shape of [large, small, experts, { ...large, outputs: 102400 }]) {
      for (const rows of [1, 2, 3, 16, 64, 200]) {
        const ways = decodeWays([shape], rows, 49152);
        assertEquals(ways[0].itemsAtOnce, 1);
        assertEquals(ways.at(-1)!.upTo, rows);
        ways.slice(1).forEach(({ upTo }, i) => assert(upTo > ways[i].upTo));
      }
    }
    assertEquals(decodeWays([large], 0, 49152), []);
  });

  it("is by tiles only where weights are many and the device has the memory", () => {
    const tiled = (shapes: Parameters<typeof decodeWays>[0], limit = 49152) => decodeWays(shapes, 64, limit).at(-1)!.division !== undefined;
    assertEquals([tiled([large]), tiled([experts]), tiled([small]), tiled([large], 4096), tiled([experts], 4096)], [true, true, false, false, false]);
    assertEquals(decodeWays([experts], 64, 4096), [{ upTo: 64, itemsAtOnce: 1 }], "a stack without tiles has one kernel");
    assertEquals(decodeWays([small], 64, 49152), [{ upTo: 1, itemsAtOnce: 1 }, { upTo: 64, itemsAtOnce: 4 }]);
  });

  it("is alike for layers side by side", () => {
    const router = { ...large, outputs: 64 };
    assertEquals(decodeWays([router, large], 64, 49152), decodeWays([large, router], 64, 49152));
    assert(decodeWays([router, large], 64, 49152).at(-1)!.division !== undefined);
    const threads = [large, experts, { ...large, outputs: 102400 }].flatMap((shape) =>
      decodeWays([shape], 64, 49152).flatMap(({ division }) => division?.threads ?? [])
    );
    assertEquals(new Set(threads).size, 1);
  });
});

describe("what matrix units are given at a time", () => {
  it("is a tile that leaves few processors idle", () => {
    for (const [items, outputs, expected] of [[4096, 4096, 128], [512, 5632, 128], [512, 2048, 64], [512, 576, 32], [1, 16, 32]]) {
      assertEquals(tileItemsFor(items, outputs), expected, `${items} × ${outputs}`);
    }
  });

  it("is as many items of an expert as the plan has in a tile", () => {
    const config = {
      layout: matrixLayout("q4", 2048, 64),
      outputs: 2816,
      inputStride: 2048,
      select: { kind: "expert", perInput: 6 } as const,
      plan: { items: 3072, experts: 64, tileItems: 64 },
      tileItems: 128,
      input: "rounded" as const,
      output: "f32" as const,
    };
    const params = { items: 3072, first_output: 0, part_outputs: 2816, first_matrix: 0, matrices: 64 };
    assertEquals(matmulUnits.workgroups(config, params), [22, 112, 1]);
    assert(matmulUnits.wgsl(config).includes("const TILE_ITEMS: u32 = 64u;"));
  });

  it("is a split of a sequence, more and finer ones where rows are few", () => {
    const shape = { slots: 64, tableWords: 1, valueOffset: 0, scale: 1 };
    for (
      const [heads, keyWidth, rows, mostSplits, stripTokens] of [
        [64, 256, 1, 32, 32],
        [64, 256, 7, 32, 32],
        [64, 256, 8, 16, 64],
        [128, 256, 64, 16, 64],
        [16, 256, 1, 24, 32],
        [16, 256, 16, 24, 32],
        [8, 512, 16, 16, 32],
      ]
    ) {
      const config = { ...shape, cache: { dtype: "f16", keyWidth, ropeWidth: 64 } as const, heads, valueWidth: keyWidth };
      const division = divideForMatrixUnits(config, 49152);
      assert(division !== null);
      assertEquals(splittingFor(config, division, rows), { mostSplits, stripTokens }, `${heads} heads × ${keyWidth}, ${rows} rows`);
    }
  });

  it("is a shader without gaps, whatever the shape", () => {
    for (const heads of [1, 8, 16, 20, 32, 48, 64, 72, 96, 128]) {
      for (const [keyWidth, valueWidth] of [[512, 512], [320, 256], [256, 256], [192, 128], [128, 128], [128, 64], [64, 32], [48, 48]]) {
        const cache = { dtype: "f16", keyWidth, ropeWidth: 64 } as const;
        const shape = { cache, slots: 64, tableWords: 1, heads, valueOffset: keyWidth - valueWidth, valueWidth, scale: 1 };
        const division = divideForMatrixUnits(shape, 49152);
        assert(division !== null);
        const wgsl = latentDecodeMatrix.wgsl({ ...shape, ...splittingFor(shape, division, 16), division });
        assert(!/@unroll|@fill|\{\w\}/.test(wgsl), `${heads} heads × ${keyWidth}`);
        const inTurn = heads > 32 && heads % 16 === 0 && keyWidth <= 256 && keyWidth % 64 === 0 && valueWidth % 64 === 0;
        assertEquals(division.inTurn ?? false, inTurn, `${heads} heads × ${keyWidth}, ${valueWidth} of them values`);
      }
    }
  });
});

import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { matrixLayout } from "../../core/model/packing.ts";
import { divideForMatrixUnits, latentDecodeMatrix, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { unitsThreads } from "../../kernels/linear/batch_units.ts";
import { decodeWays, type LayerShape, paysOnUnits } from "../../kernels/linear/choose.ts";
import { divideUnits, matmulUnits, tileItemsFor } from "../../kernels/linear/matmul_units.ts";

describe("how steps of several rows are decoded", () => {
  const large = { layout: matrixLayout("bf16", 2048), outputs: 5632, matrices: 1, select: { kind: "all" } } as const;
  const small = { ...large, layout: matrixLayout("bf16", 320), outputs: 896 };
  const experts = { ...large, outputs: 2816, matrices: 64, select: { kind: "expert", perInput: 6 } } as const;

  const vocabulary = { ...large, outputs: 102400 };
  const heads = { ...large, layout: matrixLayout("bf16", 512), outputs: 128, matrices: 16, select: { kind: "head", heads: 16 } } as const;
  const inF32 = { rows: 64, units: false, workgroupLimit: 49152 };
  const onUnits = { ...inF32, units: true };

  it("covers every number of rows once, and in f32 one row by itself", () => {
    for (const shape of [large, small, experts, vocabulary, heads]) {
      for (const rows of [1, 2, 3, 16, 17, 64, 200]) {
        for (const choice of [inF32, onUnits]) {
          const ways = decodeWays(shape, { ...choice, rows });
          if (!choice.units) assertEquals(ways[0].itemsAtOnce, 1);
          assertEquals(ways.at(-1)!.upTo, rows);
          ways.slice(1).forEach(({ upTo }, i) => assert(upTo > ways[i].upTo));
        }
      }
    }
    assertEquals([inF32, onUnits].map((choice) => decodeWays(large, { ...choice, rows: 0 })), [[], []]);
  });

  it("is by tiles only where weights are many and the device has the memory", () => {
    const tiled = (shape: LayerShape, workgroupLimit = 49152) => decodeWays(shape, { ...inF32, workgroupLimit }).at(-1)!.division !== undefined;
    assertEquals([tiled(large), tiled(experts), tiled(small), tiled(large, 4096), tiled(experts, 4096)], [true, true, false, false, false]);
    assertEquals(decodeWays(experts, { ...inF32, workgroupLimit: 4096 }), [{ upTo: 64, itemsAtOnce: 1 }], "a stack without tiles has one kernel");
    assertEquals(decodeWays(small, inF32), [{ upTo: 1, itemsAtOnce: 1 }, { upTo: 64, itemsAtOnce: 4 }]);
  });

  it("is alike for layers side by side", () => {
    const router = { ...large, outputs: 64 };
    assertEquals(decodeWays(router, inF32, large), decodeWays(large, inF32, router));
    assert(decodeWays(router, inF32, large).at(-1)!.division !== undefined);
    const threads = [large, experts, vocabulary].flatMap((shape) => decodeWays(shape, inF32).flatMap(({ division }) => division?.threads ?? []));
    assertEquals(new Set(threads).size, 1);
  });

  it("is alike for layers side by side on matrix units, whichever is asked about, though their weights are stored otherwise", () => {
    const down = { ...large, outputs: 576 };
    const q4 = (shape: LayerShape) => ({ ...shape, layout: matrixLayout("q4", shape.layout.columns) });
    for (const [one, other] of [[down, q4(down)], [down, q4(large)], [large, q4(experts)], [q4(vocabulary), large]]) {
      assertEquals(decodeWays(one, onUnits, other), decodeWays(other, onUnits, one));
      assert(decodeWays(one, onUnits, other).every(({ units }) => units !== undefined));
    }
  });

  it("changes at the same numbers of rows for layers side by side, however large, of whatever kind and format", () => {
    const selects = [{ kind: "all" }, { kind: "head", heads: 2 }, { kind: "expert", perInput: 2 }, { kind: "expert", perInput: 1 }] as const;
    // Few sizes, so that many are equally large.
    const shape = fc.record({
      layout: fc.tuple(fc.constantFrom("bf16", "fp8", "q8", "q4", "f32"), fc.constantFrom(64, 256, 2048)).map(([format, columns]) =>
        matrixLayout(format as "bf16", columns)
      ),
      outputs: fc.constantFrom(64, 256, 2048, 16384),
      matrices: fc.constantFrom(1, 2, 8),
      select: fc.constantFrom(...selects),
    });
    const choice = fc.record({ rows: fc.integer({ min: 1, max: 70 }), units: fc.boolean(), workgroupLimit: fc.constantFrom(16384, 49152) });
    fc.assert(
      fc.property(shape, shape, choice, (one, other, choice) => {
        const told = (layer: LayerShape, beside: LayerShape) =>
          decodeWays(layer, choice, beside).map(({ upTo, units, division, itemsAtOnce }) => ({ upTo, units, division, itemsAtOnce }));
        assertEquals(told(one, other), told(other, one));
      }),
      { numRuns: 2000, seed: 7 },
    );
  });

  it("is on matrix units for models that decode many rows, whole layers of them with the same parts of their columns", () => {
    assertEquals([1, 4, 5, 64].map(paysOnUnits), [false, false, true, true]);
    const shapes = [large, small, experts, { ...experts, select: { kind: "expert", perInput: 1 } } as const, vocabulary, heads];
    const formats = ["bf16", "fp8", "q4"] as const;
    for (const shape of shapes.flatMap((shape) => formats.map((format) => ({ ...shape, layout: matrixLayout(format, shape.layout.columns) })))) {
      const divisions = decodeWays(shape, { ...onUnits, rows: 200 }).map(({ units }) => units!);
      assertEquals(new Set(divisions.map(({ columnParts }) => columnParts)).size, 1, "the same bits for any number of rows");
      for (const { depth, columnParts } of divisions) assertEquals(depth % (16 * columnParts), 0);
    }
    // Rows of f32, inputs that are no whole octets, scales that change within 16 bytes, and little memory: for all rows or none.
    const without = [{ ...large, layout: matrixLayout("f32", 2048) }, { ...large, layout: matrixLayout("bf16", 2044) }, {
      ...large,
      layout: matrixLayout("fp8", 2048, 24),
    }];
    assert(without.every((shape) => decodeWays(shape, onUnits).every(({ units }) => units === undefined)));
    assertEquals(decodeWays(large, { ...onUnits, workgroupLimit: 8192 }), decodeWays(large, { ...inF32, workgroupLimit: 8192 }));
  });

  it("is in f32 for what must be precise, with as many threads as what runs beside it", () => {
    const router = { ...large, outputs: 64, precise: true };
    const [alone, beside, shared] = [decodeWays(router, onUnits), decodeWays(router, onUnits, large), decodeWays(large, onUnits, router)];
    assertEquals(alone, decodeWays(router, inF32));
    assertEquals(beside.map(({ upTo }) => upTo), shared.map(({ upTo }) => upTo));
    assertEquals(beside.map((way) => "threads" in way && way.threads), shared.map(({ units }) => unitsThreads(units!)));
  });
});

describe("what matrix units are given at a time", () => {
  it("is a tile that leaves few processors idle", () => {
    for (const [items, outputs, expected] of [[4096, 4096, 128], [512, 5632, 128], [512, 2048, 64], [512, 576, 32], [1, 16, 32]]) {
      assertEquals(tileItemsFor(items, outputs), expected, `${items} × ${outputs}`);
    }
  });

  it("is as many items of an expert as the plan has in a tile", () => {
    const layer = {
      layout: matrixLayout("q4", 2048, 64),
      outputs: 2816,
      inputStride: 2048,
      select: { kind: "expert", perInput: 6 },
      plan: { items: 3072, experts: 64, tileItems: 64 },
      tileItems: 128,
      input: "rounded",
      output: "f32",
    } as const;
    const config = { ...layer, division: divideUnits(layer, 49152)! };
    const params = { items: 3072, first_output: 0, part_outputs: 2816, first_matrix: 0, matrices: 64 };
    assertEquals(matmulUnits.workgroups(config, params), [11, 112, 1]);
    const narrow = { ...layer, division: divideUnits(layer, 32768)! };
    assertEquals(matmulUnits.workgroups(narrow, params), [22, 112, 1], "where workgroups have less memory");
    assert(matmulUnits.wgsl(config).includes("const TILE_ITEMS: u32 = 64u;"));
  });

  it("is a split of a sequence, more and finer ones where rows are few", () => {
    const shape = { slots: 64, tableWords: 1, valueOffset: 0, scale: 1 };
    for (
      const [heads, keyWidth, rows, context, usualSplits, mostSplits, stripTokens] of [
        [64, 256, 1, 8192, 32, 32, 32],
        [64, 256, 1, 131_072, 32, 128, 32],
        [64, 256, 7, 32_768, 32, 64, 32],
        [64, 256, 8, 32_767, 16, 16, 64],
        [64, 256, 8, 32_768, 16, 32, 64],
        [64, 256, 8, 1_000_000, 16, 128, 64],
        // What the splits of 64 such rows leave is as much as may be.
        [128, 256, 64, 1_000_000, 16, 32, 64],
        [16, 256, 1, 131_072, 24, 96, 32],
        [16, 256, 16, 16_384, 24, 24, 32],
        [8, 512, 16, 16_384, 16, 16, 32],
      ]
    ) {
      const config = { ...shape, cache: { dtype: "f16", keyWidth, ropeWidth: 64 } as const, heads, valueWidth: keyWidth };
      const division = divideForMatrixUnits(config, 49152);
      assert(division !== null);
      const expected = { usualSplits, mostSplits, longTokens: rows < 8 ? 512 : 1024, stripTokens };
      assertEquals(splittingFor(config, division, rows, context), expected, `${heads} heads × ${keyWidth}, ${rows} rows up to ${context}`);
    }
  });

  it("is a shader without gaps, whatever the shape", () => {
    for (const heads of [1, 8, 16, 20, 32, 48, 64, 72, 96, 128]) {
      for (const [keyWidth, valueWidth] of [[512, 512], [320, 256], [256, 256], [192, 128], [128, 128], [128, 64], [64, 32], [48, 48]]) {
        const cache = { dtype: "f16", keyWidth, ropeWidth: 64 } as const;
        const shape = { cache, slots: 64, tableWords: 1, heads, valueOffset: keyWidth - valueWidth, valueWidth, scale: 1 };
        const division = divideForMatrixUnits(shape, 49152);
        assert(division !== null);
        const wgsl = latentDecodeMatrix.wgsl({ ...shape, ...splittingFor(shape, division, 16, 131_072), division });
        assert(!/@unroll|@fill|\{\w\}/.test(wgsl), `${heads} heads × ${keyWidth}`);
        const inTurn = heads > 32 && heads % 16 === 0 && keyWidth <= 256 && keyWidth % 64 === 0 && valueWidth % 64 === 0;
        assertEquals(division.inTurn ?? false, inTurn, `${heads} heads × ${keyWidth}, ${valueWidth} of them values`);
      }
    }
  });
});

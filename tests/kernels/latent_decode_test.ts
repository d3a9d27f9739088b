import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { ceilDiv } from "../../core/numeric.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheTokenBytes, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { latentDecode, queriesOf } from "../../kernels/latent_decode/latent_decode.ts";
import { latentMerge } from "../../kernels/latent_decode/latent_merge.ts";
import { divideForMatrixUnits, type Division, latentDecodeMatrix, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { queriesBytes } from "../../kernels/latent_decode/queries.ts";
import { DEFAULT_SPLITTING, partialWidth, splitCount, splitPositions, type Splitting } from "../../kernels/latent_decode/splits.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { tested } from "../support/extent.ts";
import { runKernel } from "../support/kernel.ts";
import { attendLatents, packCache, rounded } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

/** A shape of attention on matrix units. */
interface OnUnits {
  readonly heads: number;
  readonly keyWidth: number;
  readonly valueOffset: number;
  readonly valueWidth: number;
  readonly groups?: readonly number[];
  readonly positions?: readonly number[];
  /** How far scores grow along the sequence. */
  readonly growth?: number;
  /** How far the first score is above the others. */
  readonly sink?: number;
}

describeOnDevices("decode attention", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  const caches: CacheConfig[] = [
    { dtype: "f32", keyWidth: 21, ropeWidth: 4 },
    { dtype: "f16", keyWidth: 21, ropeWidth: 4 },
    { dtype: "q8", keyWidth: 21, ropeWidth: 4 },
    // Groups of a scale that end at whole vectors, and such that end anywhere; more of them than a vector has scales.
    { dtype: "q8", keyWidth: 24, ropeWidth: 4, groups: [16, 8] },
    { dtype: "q8", keyWidth: 21, ropeWidth: 4, groups: [3, 7, 2, 1, 1, 7] },
  ];
  for (const cache of caches) {
    const { dtype, keyWidth, groups = [] } = cache;
    for (const heads of [3, 8, 27]) {
      it(`decodes rows of different sequences and positions, ${heads} heads over ${keyWidth} columns in ${dtype} ${groups.join("+")}`, async () => {
        const random = new Random();
        // Value columns are a slice of the key columns, as they are on a TPLA rank.
        // Of 8 heads, scores spread so far that the reference has to follow them.
        const [valueOffset, valueWidth, scale, blocks] = [7, 13, heads === 8 ? 20 : 0.3, 12];
        const width = cacheWidth(cache);
        const slots = blocks * BLOCK_TOKENS;
        const values = random.normals(slots * width);
        const stored = rounded(cache, values);
        const tables = Uint32Array.from([5, 11, 0, 7, 2, 9, 1, 3, 10, 8]);
        const rowsAt = [{ position: 0, table: 0 }, { position: 60, table: 5 }, { position: 299, table: 5 }, { position: 255, table: 0 }];
        const rows = rowsAt.length;
        // What lies between keys and rotated keys is not read in any sense that counts: it is zero in queries and a number in the cache.
        const queries = random.normals(rows * heads * width).map((value, k) =>
          k % width < cache.keyWidth || k % width >= ropeOffset(cache) && k % width < ropeOffset(cache) + 4 ? value : 0
        );
        const config = { cache, slots, tableWords: tables.length, heads, valueOffset, valueWidth, scale, ...DEFAULT_SPLITTING };
        const step = Uint32Array.from(rowsAt.flatMap(({ position, table }) => [0, position, 0, table]));
        const splits = Math.max(...rowsAt.map(({ position }) => splitCount(position + 1, config)));
        const expected = rowsAt.flatMap(({ position, table }, row) => {
          const at = Array.from({ length: position + 1 }, (_, key) => (tables[table + Math.floor(key / 64)] * 64 + key % 64) * width);
          const of = (head: number) => queries.subarray((row * heads + head) * width);
          return Array.from({ length: heads }, (_, head) => attendLatents(of(head), stored, at, { width, scale, valueOffset, valueWidth })).flat();
        });
        // With and without subgroups, where there are any; with eight, four and two latents at a time.
        const { subgroups: least } = device.features;
        for (const [subgroups, workgroupLimit, tokens] of [[0, 16384, 8], ...(least > 0 ? [[least, 16384, 8]] : []), [0, 5400, 4], [0, 0, 2]]) {
          const [, atOnce] = /const TOKENS: u32 = (\d+)u/.exec(latentDecode.wgsl({ ...config, subgroups, workgroupLimit }))!;
          assertEquals(Number(atOnce), tokens, "latents at a time");
          const partials = await runKernel(
            device,
            latentDecode,
            { ...config, subgroups, workgroupLimit },
            {
              queries,
              cache: packCache(cache, values),
              tables,
              step,
              partial: { poison: rows * heads * config.mostSplits * partialWidth(config.valueWidth) },
            },
            { rows, splits },
          );
          const merge = async (output: "f32" | "f16") => {
            const inputs = { step, partial: partials.partial.f32, y: { poison: rows * heads * valueWidth } };
            return (await runKernel(device, latentMerge, { heads, valueWidth, output, ...DEFAULT_SPLITTING }, inputs, { rows })).y;
          };
          const y = await merge("f32");
          if (valueWidth % 2 === 0) {
            const halves = new Float16Array((await merge("f16")).u32.buffer);
            assertEquals(halves.subarray(0, y.f32.length), Float16Array.from(y.f32), "merged in f16 is what is rounded later");
          }
          assertClose(y.f32, expected, heads === 8 ? 1e-4 : 1e-5, `decode, subgroups of ${subgroups}`);
        }
      });
    }
  }

  // Long enough for several splits; widths of whole latents, and of slices with and without a halo.
  const onUnits: readonly OnUnits[] = [
    { heads: 8, keyWidth: 512, valueOffset: 0, valueWidth: 512 },
    { heads: 16, keyWidth: 256, valueOffset: 0, valueWidth: 256 },
    { heads: 20, keyWidth: 192, valueOffset: 64, valueWidth: 128 },
    { heads: 32, keyWidth: 128, valueOffset: 0, valueWidth: 128 },
    { heads: 64, keyWidth: 320, valueOffset: 64, valueWidth: 256 },
    { heads: 128, keyWidth: 128, valueOffset: 64, valueWidth: 64 },
    // So many rows that strips are longer where tiles are in turn.
    { heads: 64, keyWidth: 256, valueOffset: 0, valueWidth: 256, positions: [0, 31, 32, 63, 64, 700, 1055, 2900] },
    // Scores that grow with the position, so that the reference has to follow them.
    { heads: 16, keyWidth: 256, valueOffset: 0, valueWidth: 256, growth: 60 },
    { heads: 64, keyWidth: 256, valueOffset: 0, valueWidth: 256, growth: 60 },
    // A first token that draws most of the attention and has no values, so that the weights of the others, all in one split, must be exact.
    { heads: 16, keyWidth: 256, valueOffset: 0, valueWidth: 256, positions: [31], sink: 10 },
    // Splits of more strips than a workgroup has at hand.
    { heads: 16, keyWidth: 64, valueOffset: 0, valueWidth: 64, positions: [100_000] },
    { heads: 48, keyWidth: 64, valueOffset: 0, valueWidth: 64, positions: [34_000] },
    // Long rows, which have more splits than others, beside such.
    { heads: 16, keyWidth: 64, valueOffset: 0, valueWidth: 64, positions: [3, 5000, 24_575, 24_576, 40_000] },
    // In eight bits: whole latents, and slices whose halo has scales of its own.
    { heads: 8, keyWidth: 512, valueOffset: 0, valueWidth: 512, groups: [128, 128, 128, 128] },
    { heads: 16, keyWidth: 320, valueOffset: 64, valueWidth: 256, groups: [64, 128, 128] },
    { heads: 64, keyWidth: 320, valueOffset: 64, valueWidth: 256, groups: [64, 128, 128], growth: 60 },
    { heads: 20, keyWidth: 192, valueOffset: 64, valueWidth: 128, groups: [16, 32, 16, 48, 16, 64] },
  ];
  // A whole latent, a slice with a halo, scores that grow, a sink, and a row with more splits than others.
  const stays = (_: OnUnits, index: number) => [1, 2, 7, 9, 12, 14].includes(index);
  for (
    const { heads, keyWidth, valueOffset, valueWidth, groups, positions = [0, 63, 64, 700, 1299], growth = 0, sink = 0 } of kind === "cpu"
      ? tested("shapes on matrix units", onUnits, stays)
      : onUnits
  ) {
    const scores = growth > 0 ? ", scores growing" : sink > 0 ? ", with a sink" : "";
    itOnUnits(kind)(
      `decodes ${heads} heads over ${keyWidth} columns${groups === undefined ? "" : " in eight bits"} up to position ${
        positions.at(-1)
      }${scores} on matrix units`,
      async () => {
        const random = new Random();
        const cache: CacheConfig = { dtype: groups === undefined ? "f16" : "q8", keyWidth, ropeWidth: 64, groups };
        const [width, blocks, scale] = [cacheWidth(cache), 24, 0.08];
        const values = random.normals(blocks * BLOCK_TOKENS * width);
        const last = Math.max(...positions);
        const tables = Uint32Array.from({ length: ceilDiv(last + 1, BLOCK_TOKENS) }, (_, i) => (i * 5 + 3) % blocks);
        const rows = positions.length;
        const queries = Float32Array.from(Float16Array.from(random.normals(rows * heads * width, 0.5)));
        // The last column is no value. What it adds to scores grows along the sequence, for some heads faster than for others.
        for (let key = 0; growth > 0 && key <= last; key++) {
          const slot = tables[Math.floor(key / BLOCK_TOKENS)] * BLOCK_TOKENS + key % BLOCK_TOKENS;
          values[(slot + 1) * width - 1] = growth / scale * key / last;
        }
        for (let item = 0; growth > 0 && item < rows * heads; item++) queries[(item + 1) * width - 1] = item % 5 / 4;
        if (sink > 0) {
          for (let key = 0; key <= last; key++) {
            const slot = tables[Math.floor(key / BLOCK_TOKENS)] * BLOCK_TOKENS + key % BLOCK_TOKENS;
            if (key === 0) values.fill(0, slot * width, (slot + 1) * width);
            values[(slot + 1) * width - 1] = key === 0 ? sink / scale : 0;
          }
          for (let item = 0; item < rows * heads; item++) queries[(item + 1) * width - 1] = 1;
        }
        const stored = rounded(cache, values);
        const shape = { cache, slots: blocks * BLOCK_TOKENS, tableWords: tables.length, heads, valueOffset, valueWidth, scale };
        const division = divideForMatrixUnits(shape, device.limits.maxWorkgroupBytes);
        assert(division !== null, "matrix units take these shapes");
        const splitting = splittingFor(shape, division, rows, last + 1);
        const config = { ...shape, ...splitting };
        const layout = queriesOf(config, "f16");
        const padded = new Uint8Array(queriesBytes(layout, rows * heads));
        padded.set(packCache({ ...cache, dtype: "f16" }, queries));
        const step = Uint32Array.from(positions.flatMap((position) => [0, position, 0, 0]));
        const splits = Math.max(...positions.map((position) => splitCount(position + 1, splitting)));
        const { partial } = await runKernel(
          device,
          latentDecodeMatrix,
          { ...config, division },
          {
            queries: padded,
            cache: packCache(cache, values),
            tables,
            step,
            partial: { poison: rows * heads * splitting.mostSplits * partialWidth(config.valueWidth) },
          },
          { rows, splits },
        );
        const inputs = { step, partial: partial.f32, y: { poison: rows * heads * valueWidth } };
        const { y } = await runKernel(device, latentMerge, { heads, valueWidth, output: "f32", ...splitting }, inputs, { rows });
        const expected = positions.flatMap((position, row) => {
          const at = Array.from({ length: position + 1 }, (_, key) => (tables[Math.floor(key / 64)] * 64 + key % 64) * width);
          const of = (head: number) => queries.subarray((row * heads + head) * width);
          return Array.from({ length: heads }, (_, head) => attendLatents(of(head), stored, at, { width, scale, valueOffset, valueWidth })).flat();
        });
        assertClose(y.f32, expected, 2e-3, "decode on matrix units");
      },
    );
  }

  for (const [heads, growth] of [[64, 0], [40, 60], [64, 900]]) {
    itOnUnits(kind)(`moves references of ${heads} heads outside the loop with the same bits as inside, scores growing by ${growth}`, async () => {
      const random = new Random();
      const cache: CacheConfig = { dtype: "f16", keyWidth: 192, ropeWidth: 64 };
      const [width, valueWidth, scale, positions] = [cacheWidth(cache), 128, 0.08, [0, 15, 16, 799]];
      const [rows, last] = [positions.length, Math.max(...positions)];
      const blocks = ceilDiv(last + 1, BLOCK_TOKENS);
      // As above, what the last column adds to scores grows, for some heads so fast that references move with most tiles.
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      for (let key = 0; growth > 0 && key <= last; key++) values[(key + 1) * width - 1] = growth / scale * key / last;
      const queries = random.normals(rows * heads * width, 0.5);
      for (let item = 0; growth > 0 && item < rows * heads; item++) queries[(item + 1) * width - 1] = item % 5 / 4;
      const shape = { cache, slots: blocks * BLOCK_TOKENS, tableWords: blocks, heads, valueOffset: 64, valueWidth, scale };
      const inside = { headParts: 2, rowTiles: 2, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 1 };
      const config = { ...shape, ...splittingFor(shape, inside, rows, last + 1) };
      const padded = new Uint8Array(queriesBytes(queriesOf(config, "f16"), rows * heads));
      padded.set(packCache(cache, queries));
      const inputs = {
        queries: padded,
        cache: packCache(cache, values),
        tables: Uint32Array.from({ length: blocks }, (_, block) => block),
        step: Uint32Array.from(positions.flatMap((position) => [0, position, 0, 0])),
        partial: { poison: rows * heads * config.mostSplits * partialWidth(valueWidth) },
      };
      const splits = Math.max(...positions.map((position) => splitCount(position + 1, config)));
      const run = async (division: Division) =>
        (await runKernel(unitsOf(device), latentDecodeMatrix, { ...config, division }, inputs, { rows, splits })).partial.u32;
      const [moved, kept] = [await run({ ...inside, movesOutside: true }), await run(inside)];
      // Compared by hand: to show how so many numbers differ takes minutes.
      assertEquals(moved.findIndex((word, i) => word !== kept[i]), -1, "the first word that differs");
    });
  }

  it("leaves room behind the queries for all the heads that a workgroup on matrix units reads", () => {
    for (let heads = 1; heads <= 300; heads++) {
      const cache = { dtype: "f16", keyWidth: 256, ropeWidth: 64 } as const;
      const config = { cache, slots: 64, tableWords: 1, heads, valueOffset: 0, valueWidth: 256, scale: 1, ...DEFAULT_SPLITTING };
      const division = divideForMatrixUnits(config, 49152);
      assert(division !== null);
      const [, groups] = latentDecodeMatrix.workgroups({ ...config, division }, { rows: 1, splits: 1 });
      const { queries } = latentDecodeMatrix.sizes({ ...config, division }, { rows: 1, splits: 1 });
      assert(groups * division.headParts * division.rowTiles * 16 * cacheWidth(cache) * 2 <= queries, `${heads} heads`);
    }
  });

  it("splits sequences into at most so many parts, of which each position is in one", () => {
    const inTurn: Splitting = { usualSplits: 16, mostSplits: 16, longTokens: 0, stripTokens: BLOCK_TOKENS };
    for (const splitting of [DEFAULT_SPLITTING, inTurn, { ...inTurn, mostSplits: 64, longTokens: 256 }]) {
      const { usualSplits, mostSplits, stripTokens, longTokens } = splitting;
      const longer = [usualSplits * stripTokens, 2 * usualSplits * longTokens, 4 * usualSplits * longTokens].flatMap((
        context,
      ) => [context - 1, context, context + 1]);
      for (const context of [1, 31, 32, 33, 255, 256, 257, ...longer.filter((context) => context > 0), 8193, 131072]) {
        const splits = splitCount(context, splitting);
        assert(splits <= mostSplits);
        const parts = Array.from({ length: splits }, (_, split) => [...splitPositions(split, context, splitting)]);
        assert(parts.every(({ length }) => length > 0), `an empty split of ${context}`);
        assertEquals(parts.flat().sort((a, b) => a - b), Array.from({ length: context }, (_, position) => position));
      }
    }
    assertEquals(cacheTokenBytes({ dtype: "f16", keyWidth: 512, ropeWidth: 64 }), 1152);
    assertEquals(cacheTokenBytes({ dtype: "q8", keyWidth: 512, ropeWidth: 64 }), 512 + 4 * 4 + 64 * 2);
  });
});

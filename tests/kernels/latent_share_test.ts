/**
 * Decode attention where ranks share latents by tokens: what they have adds up to attention over all tokens, and a row gets the same bits whatever is beside it.
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { blockTokensOf, keptTokens, type TokenShare } from "../../core/cache/token_share.ts";
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { ceilDiv } from "../../core/numeric.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { latentDecode, queriesOf } from "../../kernels/latent_decode/latent_decode.ts";
import { latentLse, LOWEST_SUM } from "../../kernels/latent_decode/latent_lse.ts";
import { latentShare } from "../../kernels/latent_decode/latent_share.ts";
import { divideForMatrixUnits, latentDecodeMatrix, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { queriesBytes } from "../../kernels/latent_decode/queries.ts";
import { DEFAULT_SPLITTING, partialWidth, splitCount } from "../../kernels/latent_decode/splits.ts";
import { Random } from "../../bench/support/random.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { attendLatents, packCache, rounded } from "../support/latents.ts";
import { runGuarded } from "../support/wasm/guarded.ts";

/** What is attended to. */
interface Case {
  readonly cache: CacheConfig;
  readonly heads: number;
  readonly scale: number;
  readonly valueWidth: number;
  readonly ranks: number;
  readonly positions: readonly number[];
}

/** A case's latents on every rank, queries, and what each row comes to in float64. */
function prepared({ cache, heads, scale, valueWidth, ranks, positions }: Case) {
  const random = new Random();
  const width = cacheWidth(cache);
  const blocks = 8;
  const slots = blocks * BLOCK_TOKENS;
  const shares = Array.from({ length: ranks }, (_, index): TokenShare => ({ index, of: ranks }));
  // One table for all ranks, and another sequence's in front of it.
  const tables = Uint32Array.from([
    7,
    7,
    ...Array.from({ length: ceilDiv(Math.max(...positions) + 1, blockTokensOf(shares[0])) }, (_, i) => (i * 5 + 3) % blocks),
  ]);
  const values = shares.map(() => random.normals(slots * width));
  const stored = new Float32Array(ranks * slots * width);
  values.forEach((own, rank) => stored.set(rounded(cache, own), rank * slots * width));
  const isKey = (k: number) => k < cache.keyWidth || k >= ropeOffset(cache) && k < ropeOffset(cache) + cache.ropeWidth;
  const queries = random.normals(positions.length * heads * width, 0.5).map((value, k) => isKey(k % width) ? Math.f16round(value) : 0);
  const expected = positions.flatMap((position, row) => {
    const at = Array.from({ length: position + 1 }, (_, t) => {
      const rank = Math.floor(t / BLOCK_TOKENS) % ranks;
      return (rank * slots + tables[2 + Math.floor(t / (BLOCK_TOKENS * ranks))] * BLOCK_TOKENS + t % BLOCK_TOKENS) * width;
    });
    const of = (head: number) => queries.subarray((row * heads + head) * width);
    return Array.from({ length: heads }, (_, head) => attendLatents(of(head), stored, at, { width, scale, valueOffset: 0, valueWidth })).flat();
  });
  const steps = shares.map((share) => Uint32Array.from(positions.flatMap((position) => [0, keptTokens(share, position + 1) - 1, 0, 2])));
  const shape = { cache, slots, tableWords: tables.length, heads, valueOffset: 0, valueWidth, scale };
  return { tables, packed: values.map((own) => packCache(cache, own)), queries, expected, steps, shape, shares };
}

function added(parts: readonly Float32Array[]): Float32Array {
  return parts[0].map((_, i) => parts.reduce((sum, part) => Math.fround(sum + part[i]), 0));
}

describeOnDevices("shares of decode attention", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  /** What ranks come to. @param output of each rank's part */
  async function attend(
    one: Case,
    attention: (rank: number) => Promise<Float32Array<ArrayBuffer>>,
    output: "f32" | "f16",
    splitting = DEFAULT_SPLITTING,
  ) {
    const { heads, valueWidth, ranks, positions } = one;
    const { steps } = prepared(one);
    const rows = positions.length;
    const [partials, sums] = [[] as Float32Array<ArrayBuffer>[], [] as Float32Array<ArrayBuffer>[]];
    for (let rank = 0; rank < ranks; rank++) {
      const partial = await attention(rank);
      const inputs = { step: steps[rank], partial, lse: { poison: rows * heads } };
      partials.push(partial);
      sums.push((await runKernel(device, latentLse, { heads, valueWidth, ...splitting }, inputs, { rows })).lse.f32);
    }
    const parts: Float32Array<ArrayBuffer>[] = [];
    for (let rank = 0; rank < ranks; rank++) {
      const others = Float32Array.from(sums.toSpliced(rank, 1).flatMap((own) => [...own]));
      const config = { heads, valueWidth, output, rank, ranks, sharing: { begin: 0, end: ranks }, ...splitting };
      const words = rows * heads * valueWidth / (output === "f16" ? 2 : 1);
      const inputs = { step: steps[rank], partial: partials[rank], own: sums[rank], others, y: { poison: words } };
      const { y } = await runKernel(device, latentShare, config, inputs, { rows });
      parts.push(output === "f16" ? Float32Array.from(new Float16Array(y.u32.buffer)) : y.f32);
    }
    return { sums, parts };
  }

  /** On plain kernels. @param rows those of the case that are computed */
  function plain({ heads, valueWidth }: Case, { queries, packed, tables, steps, shape }: ReturnType<typeof prepared>) {
    return async (rank: number) => {
      const step = steps[rank];
      const rows = step.length / 4;
      const config = { ...shape, ...DEFAULT_SPLITTING, subgroups: 0, workgroupLimit: 16384 };
      const splits = Math.max(...Array.from({ length: rows }, (_, row) => splitCount((step[row * 4 + 1] + 1) >>> 0, config)));
      const partial = { poison: rows * heads * config.mostSplits * partialWidth(valueWidth) };
      return (await runKernel(device, latentDecode, config, { queries, cache: packed[rank], tables, step, partial }, { rows, splits })).partial.f32;
    };
  }

  const inF32: CacheConfig = { dtype: "f32", keyWidth: 24, ropeWidth: 4 };
  const caches: readonly (readonly [CacheConfig, readonly number[]])[] = [
    [inF32, [2, 3]],
    [{ dtype: "f16", keyWidth: 22, ropeWidth: 4 }, [3]],
    [{ dtype: "q8", keyWidth: 24, ropeWidth: 4, groups: [16, 8] }, [2]],
  ];
  for (const [cache, group] of caches) {
    for (const ranks of group) {
      it(`add up to all of it over ${ranks} ranks, in ${cache.dtype}`, async () => {
        for (const [heads, scale] of [[3, 0.3], [8, 20]] as const) {
          // A rank without a token, at the edges of blocks, and several blocks on each.
          const one: Case = { cache, heads, scale, valueWidth: cache.keyWidth, ranks, positions: [0, 63, 64, 200, 127, 128, 577] };
          const all = prepared(one);
          const { sums, parts } = await attend(one, plain(one, all), "f32");
          assertClose(added(parts), all.expected, heads === 8 ? 1e-4 : 1e-5, `${ranks} ranks, ${heads} heads`);
          for (let rank = 1; rank < ranks; rank++) {
            assertEquals([...sums[rank].subarray(0, heads)], new Array(heads).fill(Math.fround(LOWEST_SUM)), "of no tokens");
            assertEquals([...parts[rank].subarray(0, heads * one.valueWidth)], new Array(heads * one.valueWidth).fill(0), "of no tokens");
          }
          const { parts: halves } = await attend(one, plain(one, all), "f16");
          // In f16 it is the plain reference that runs on wasm.
          halves.forEach((part, rank) => {
            if (kind === "wasm") assertClose(part, parts[rank], 1e-3, "in f16");
            else assertEquals(part, Float32Array.from(Float16Array.from(parts[rank])), "what is rounded later");
          });
          // Each row by itself.
          for (const row of [0, 3]) {
            const position = one.positions[row];
            const alone = { ...all, steps: all.steps.map((step) => step.slice(row * 4, row * 4 + 4)) };
            const width = cacheWidth(cache);
            const queries = all.queries.slice(row * heads * width, (row + 1) * heads * width);
            const own = await attend({ ...one, positions: [position] }, plain(one, { ...alone, queries }), "f32");
            const values = heads * one.valueWidth;
            own.parts.forEach((part, rank) => assertEquals(part, parts[rank].slice(row * values, (row + 1) * values), `row ${row} alone`));
          }
        }
      });
    }
  }

  it("add up within groups of ranks that have other columns each", async () => {
    // Ranks 2 and 3 of four share what these rows attend to; the others' sums are of something else.
    const one: Case = { cache: inF32, heads: 4, scale: 0.3, valueWidth: 24, ranks: 2, positions: [10, 64, 300] };
    const all = prepared(one);
    const { sums, parts } = await attend(one, plain(one, all), "f32");
    const wrong = new Float32Array(sums[0].length).fill(50);
    for (const rank of [2, 3]) {
      const config = { heads: 4, valueWidth: 24, output: "f32", rank, ranks: 4, sharing: { begin: 2, end: 4 }, ...DEFAULT_SPLITTING } as const;
      const others = Float32Array.from([wrong, wrong, sums[3 - rank]].flatMap((own) => [...own]));
      const inputs = { step: all.steps[rank - 2], partial: await plain(one, all)(rank - 2), own: sums[rank - 2], others, y: { poison: 3 * 4 * 24 } };
      assertEquals((await runKernel(device, latentShare, config, inputs, { rows: 3 })).y.u32, new Uint32Array(parts[rank - 2].buffer));
    }
  });

  itOnUnits(kind)("add up to all of it on matrix units", async () => {
    for (
      const cache of [{ dtype: "f16", keyWidth: 128, ropeWidth: 64 }, { dtype: "q8", keyWidth: 128, ropeWidth: 64, groups: [128] }] as CacheConfig[]
    ) {
      // Of latents in eight bits, shaders are not emulated.
      const units = cache.dtype === "f16" ? unitsOf(device) : device;
      const one: Case = { cache, heads: 16, scale: 0.08, valueWidth: 128, ranks: 2, positions: [0, 63, 64, 700] };
      const all = prepared(one);
      const division = divideForMatrixUnits(all.shape, units.limits.maxWorkgroupBytes);
      assert(division !== null);
      const rows = one.positions.length;
      const splitting = splittingFor(all.shape, division, rows, 512);
      const config = { ...all.shape, ...splitting, division };
      const queries = new Uint8Array(queriesBytes(queriesOf(config, "f16"), rows * 16));
      queries.set(packCache({ ...cache, dtype: "f16" }, all.queries));
      const partial = { poison: rows * 16 * splitting.mostSplits * partialWidth(128) };
      const attention = async (rank: number) => {
        const step = all.steps[rank];
        const splits = Math.max(...one.positions.map((_, row) => splitCount((step[row * 4 + 1] + 1) >>> 0, splitting)));
        const inputs = { queries, cache: all.packed[rank], tables: all.tables, step, partial };
        return (await runKernel(units, latentDecodeMatrix, config, inputs, { rows, splits })).partial.f32;
      };
      const { parts } = await attend(one, attention, "f32", splitting);
      assertClose(added(parts), all.expected, 2e-3, `units, ${cache.dtype}`);
    }
  });
});

describe("shares of decode attention in WebAssembly", () => {
  it("keep to their memory", () => {
    const random = new Random();
    for (const module of ["fused", "plain"] as const) {
      for (let i = 0; i < 20; i++) {
        const [heads, rows, valueWidth, ranks] = [1 + random.below(5), 1 + random.below(4), 4 * (1 + random.below(10)), 2 + random.below(4)];
        const rank = random.below(ranks);
        const config = { heads, valueWidth, ...DEFAULT_SPLITTING };
        const step = Uint32Array.from({ length: rows * 4 }, (_, k) => k % 4 === 1 ? [0xffffffff, 0, 40, 2000][random.below(4)] : 0);
        const partial = random.normals(rows * heads * config.mostSplits * partialWidth(valueWidth)).map(Math.abs);
        const how = { module, byteDots: null, wide: false };
        const { lse } = runGuarded(latentLse, config, { step, partial, lse: new Float32Array(rows * heads).fill(NaN) }, { rows }, how);
        const own = new Float32Array(lse.slice().buffer);
        const others = random.normals((ranks - 1) * rows * heads);
        const inputs = { step, partial, own, others, y: new Float32Array(rows * heads * valueWidth).fill(NaN) };
        const shared = { ...config, output: "f32", rank, ranks, sharing: { begin: 0, end: ranks } } as const;
        const { y } = runGuarded(latentShare, shared, inputs, { rows }, how);
        assert(new Float32Array(y.slice().buffer).every(Number.isFinite));
      }
    }
  });
});

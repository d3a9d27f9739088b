import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import { ropeTable } from "../../core/model/rope.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type CacheConfig, type CacheDtype, cacheTokenBytes, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { exportedConfig } from "../../kernels/latent_export/kept_columns.ts";
import { latentExport } from "../../kernels/latent_export/latent_export.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { NO_SLOT, ropeStore, SHORT_SEQUENCE } from "../../kernels/rope_store/rope_store.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { packCache, rounded, unpackCache } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

/** How latents are stored. */
interface DtypeCase {
  readonly dtype: CacheDtype;
  /** Where groups of a scale end, apart from the last. */
  readonly cuts?: readonly number[];
}

/** Values within half a step of what they should be, zeros between them, and other slots left alone. */
function assertRounded(
  cache: CacheConfig,
  { bytes, before, expected, where }: {
    readonly bytes: Uint8Array<ArrayBuffer>;
    readonly before: Uint8Array;
    readonly expected: Float32Array;
    readonly where: readonly number[];
  },
): void {
  const [width, tokenBytes, { keyWidth, ropeWidth, groups = [keyWidth] }] = [cacheWidth(cache), cacheTokenBytes(cache), cache];
  const values = unpackCache(cache, bytes);
  assertEquals(packCache(cache, values).length, bytes.length);
  for (let slot = 0; slot < bytes.length / tokenBytes; slot++) {
    const own = bytes.subarray(slot * tokenBytes, (slot + 1) * tokenBytes);
    if (!where.includes(slot)) {
      assertEquals(own, before.subarray(slot * tokenBytes, (slot + 1) * tokenBytes), "other slots");
      continue;
    }
    let begin = slot * width;
    for (const count of groups) {
      const wanted = expected.subarray(begin, begin + count);
      const largest = Math.max(...wanted.map(Math.abs));
      wanted.forEach((value, i) => assert(Math.abs(values[begin + i] - value) <= (0.5 / 127 + 1e-5) * largest, `${values[begin + i]} for ${value}`));
      begin += count;
    }
    const rope = slot * width + ropeOffset(cache);
    assertClose(values.subarray(rope, rope + ropeWidth), expected.subarray(rope, rope + ropeWidth), 2e-3, "rotated key");
    const ropeAt = Math.ceil(keyWidth / 16) * 16;
    const scalesEnd = ropeAt + (width - ropeOffset(cache)) * 2 + groups.length * 4;
    assert(
      [...own.subarray(keyWidth, ropeAt), ...own.subarray(ropeAt + ropeWidth * 2, scalesEnd - groups.length * 4), ...own.subarray(scalesEnd)].every((
        byte,
      ) => byte === 0),
    );
  }
}

describeOnDevices("latent cache", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  // Of q8, the groups of a scale are cut there, too.
  for (
    const { dtype, cuts = [] } of [{ dtype: "f32" }, { dtype: "f16" }, { dtype: "q8" }, { dtype: "q8", cuts: [3, 5, 6, 7, 8, 11] }] as DtypeCase[]
  ) {
    const named = `${dtype}${cuts.length > 0 ? " of many scales" : ""}`;
    /** With groups of whole columns. */
    const cacheOf = (keyWidth: number, ropeWidth: number): CacheConfig => {
      const ends = [...cuts, keyWidth];
      return { dtype, keyWidth, ropeWidth, groups: cuts.length === 0 ? undefined : ends.map((end, i) => end - (ends[i - 1] ?? 0)) };
    };
    for (const basis of ["diagonal", "dense", { sliced: 40.5 }] as const) {
      const interleaved = basis !== "dense";
      it(`rotates queries and keys, ${interleaved ? "interleaved" : "half-split"}, and stores latents in ${named} under a ${JSON.stringify(basis)} basis`, async () => {
        const random = new Random();
        const [latentWidth, ropeWidth, rows, slots, eps] = [61, 6, 3, 5, 1e-6];
        const keyWidth = basis === "diagonal" ? latentWidth : 33;
        const cache = cacheOf(keyWidth, ropeWidth);
        const rowStride = latentWidth + ropeWidth;
        const x = random.normals(rows * rowStride, 2);
        const transform = random.normals(basis === "diagonal" ? latentWidth : keyWidth * latentWidth, 0.3);
        const where = [4, 0, 2];
        const positions = [49, 0, 7];
        const [heads, perHead] = [3, 13];
        const q = random.normals(rows * heads * perHead);
        const turned = Float64Array.from(q);
        // The last token is of a short sequence, whose pairs turn otherwise.
        const divisors = [1.5, 3, 7];
        /** d_r floats rotated by the angles of a row's position, in float64. */
        const rotated = (values: readonly number[], row: number) => {
          const position = positions[row];
          const result = [...values];
          for (let pair = 0; pair < ropeWidth / 2; pair++) {
            const [a, b] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + ropeWidth / 2];
            const angle = position * 10000 ** (-pair / (ropeWidth / 2)) / (row === 2 ? divisors[pair] : 1);
            result[a] = values[a] * Math.cos(angle) - values[b] * Math.sin(angle);
            result[b] = values[b] * Math.cos(angle) + values[a] * Math.sin(angle);
          }
          return result;
        };
        const width = cacheWidth(cache);
        const pages = new Float32Array(slots * width).fill(7);
        const expected = Float32Array.from(pages);
        where.forEach((slot, row) => {
          const latent = [...x.subarray(row * rowStride, row * rowStride + latentWidth)];
          const rms = (values: number[], width: number) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / width + eps);
          const changed = Array.from(
            { length: keyWidth },
            (_, k) => basis === "diagonal" ? latent[k] * transform[k] : latent.reduce((sum, v, j) => sum + v * transform[k * latentWidth + j], 0),
          );
          const scale = 1 / (typeof basis === "string" ? rms(latent, latentWidth) : rms(changed, basis.sliced));
          const stored = changed.map((value) => value * scale);
          expected.fill(0, slot * width, (slot + 1) * width);
          expected.set(stored, slot * width);
          const key = [...x.subarray(row * rowStride + latentWidth, (row + 1) * rowStride)];
          expected.set(rotated(key, row), slot * width + ropeOffset(cache));
          for (let end = (row * heads + 1) * perHead; end <= (row + 1) * heads * perHead; end += perHead) {
            turned.set(rotated([...q.subarray(end - ropeWidth, end)], row), end - ropeWidth);
          }
        });
        const queries = { dtype: "f32", keyWidth, ropeWidth } as const;
        const shape = { cache, latentWidth, rowStride, eps, basis, slots, heads, queryWidth: perHead, queries, interleaved };
        const config = { ...shape, positions: 50, shortPositions: 8 };
        const longRope = { divisors: [1, 1, 1], attentionFactor: 1, short: { divisors, positions: 8 } };
        const table = ropeTable({ width: ropeWidth, theta: 10000, interleaved, yarn: null, longRope }, 50);
        const step = Uint32Array.from(where.flatMap((slot, row) => [0, positions[row], slot + (row === 2 ? SHORT_SEQUENCE : 0), 0]));
        const before = packCache(cache, pages);
        // Whatever the bytes were before.
        if (dtype === "q8") before.fill(0xcd);
        const inputs = { x, basis: transform, step, table, q, queries: { poison: rows * heads * width }, cache: before };
        const result = await runKernel(device, ropeStore, config, inputs, { rows, absorbed_rows: 0 });
        assertClose(result.q.f32, turned, 1e-5, "queries");
        const absorbed = await runKernel(device, ropeStore, config, inputs, { rows, absorbed_rows: rows });
        assertEquals(absorbed.q.f32, q, "queries that will be absorbed stay as they are");
        for (let item = 0; item < rows * heads; item++) {
          const at = item * width + ropeOffset(cache);
          assertClose(
            absorbed.queries.f32.subarray(at, at + ropeWidth),
            turned.subarray((item + 1) * perHead - ropeWidth, (item + 1) * perHead),
            1e-5,
            "rotated",
          );
          assert(absorbed.queries.f32.subarray(item * width, at).every(Number.isNaN), "the absorbed part is left alone");
        }
        const bytes = new Uint8Array(result.cache.f32.buffer);
        if (dtype === "q8") assertRounded(cache, { bytes, before, expected, where });
        else assertClose(unpackCache(cache, bytes), expected, dtype === "f32" ? 1e-5 : 2e-3, "cache");
        // Those that another rank keeps are left out, each by itself, and nothing else changes.
        const tokenBytes = cacheTokenBytes(cache);
        for (const left of [0, 2]) {
          const steps = step.slice();
          steps[left * 4 + 2] = (NO_SLOT + (left === 2 ? SHORT_SEQUENCE : 0)) >>> 0;
          const without = await runKernel(device, ropeStore, config, { ...inputs, step: steps }, { rows, absorbed_rows: rows });
          assertEquals(without.queries.u32, absorbed.queries.u32, "queries of a token that is kept elsewhere");
          const held = bytes.slice();
          held.set(before.subarray(where[left] * tokenBytes, (where[left] + 1) * tokenBytes), where[left] * tokenBytes);
          assertEquals(new Uint8Array(without.cache.f32.buffer), held, "a token that is kept elsewhere");
        }
        const untouched = await runKernel(device, ropeStore, config, inputs, { rows: 0, absorbed_rows: 0 });
        assertClose(untouched.q.f32, q, 0, "no rows");
        assertEquals(new Uint8Array(untouched.cache.f32.buffer), before);
      });
    }

    it(`gathers a window of ${named} latents through the block table`, async () => {
      const random = new Random();
      const cache = cacheOf(13, 4);
      const [blocks, count, start] = [4, 90, 61];
      const width = cacheWidth(cache);
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      const tables = Uint32Array.from([9, 9, 3, 0, 2]);
      const inputs = { cache: packCache(cache, values), tables, latents: { poison: count * 13 }, rope_keys: { poison: count * 4 } };
      const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, output: "f32" } as const;
      const result = await runKernel(device, latentGather, config, inputs, { count, start, table: 2 });
      const stored = rounded(cache, values);
      for (let i = 0; i < count; i++) {
        const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
        assertEquals(result.latents.f32.subarray(i * 13, (i + 1) * 13), stored.slice(slot * width, slot * width + 13));
        assertEquals(
          result.rope_keys.f32.subarray(i * 4, (i + 1) * 4),
          stored.slice(slot * width + ropeOffset(cache), slot * width + ropeOffset(cache) + 4),
        );
      }
    });

    it(`cuts ranks' columns out of ${named} latents, bit for bit`, async () => {
      const random = new Random();
      const cache = cacheOf(13, 4);
      const [blocks, start, offset] = [4, 61, 6];
      const width = cacheWidth(cache);
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      const stored = rounded(cache, values);
      const tables = Uint32Array.from([9, 9, 3, 0, 2]);
      // Whole, a slice, a slice with a halo before it, one odd column: pairs of the source and of the result do not line up.
      for (const columns of [[[0, 13]], [[7, 13]], [[0, 3], [8, 11]], [[5, 6]]]) {
        const kept = columns.flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i));
        const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, columns: columns.map(([begin, end]) => ({ begin, end })) };
        if (cuts.length === 0 && dtype === "q8" && kept.length < 13) {
          assertThrows(() => exportedConfig(config), LatentmeshError, "no whole groups");
          continue;
        }
        const exportedCache = exportedConfig(config);
        const keptWidth = cacheWidth(exportedCache);
        for (const count of [0, 1, 61, 90]) {
          const words = offset + count * cacheTokenBytes(exportedCache) / 4;
          const inputs = { cache: packCache(cache, values), tables, out: { poison: words } };
          const { out } = await runKernel(device, latentExport, config, inputs, { count, start, table: 2, offset });
          const exported = unpackCache(exportedCache, new Uint8Array(out.f32.buffer).slice(offset * 4));
          const expected = new Float32Array(count * keptWidth);
          for (let i = 0; i < count; i++) {
            const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
            kept.forEach((column, k) => expected[i * keptWidth + k] = stored[slot * width + column]);
            const rope = ropeOffset(cache);
            expected.set(stored.subarray(slot * width + rope, (slot + 1) * width), i * keptWidth + ropeOffset(exportedCache));
          }
          assertEquals(exported, expected);
          assertEquals(new Uint8Array(out.f32.buffer).slice(offset * 4), packCache(exportedCache, expected), "as the rank holds them");
          assert(out.f32.subarray(0, offset).every(Number.isNaN), "words before the offset stay as they were");
        }
      }
    });
  }

  for (const dtype of ["f16", "q8"] as const) {
    it(`gathers ${dtype} latents in f16`, async () => {
      const random = new Random();
      const cache = { dtype, keyWidth: 24, ropeWidth: 8, groups: [9, 15] };
      const [blocks, count, start] = [4, 90, 61];
      const values = random.normals(blocks * BLOCK_TOKENS * 32);
      const tables = Uint32Array.from([9, 9, 3, 0, 2]);
      const inputs = { cache: packCache(cache, values), tables, latents: { poison: count * 12 }, rope_keys: { poison: count * 4 } };
      const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, output: "f16" } as const;
      assert(gathersHalves(cache) && !gathersHalves({ ...cache, ropeWidth: 4 }));
      const result = await runKernel(device, latentGather, config, inputs, { count, start, table: 2 });
      const stored = Float16Array.from(rounded(cache, values));
      const [latents, ropeKeys] = [new Float16Array(result.latents.u32.buffer), new Float16Array(result.rope_keys.u32.buffer)];
      for (let i = 0; i < count; i++) {
        const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
        assertEquals(latents.subarray(i * 24, (i + 1) * 24), stored.slice(slot * 32, slot * 32 + 24));
        assertEquals(ropeKeys.subarray(i * 8, (i + 1) * 8), stored.slice(slot * 32 + 24, (slot + 1) * 32));
      }
    });
  }

  it("stores zeros, next to nothing and what is not finite in eight bits, each group by itself", async () => {
    const cache: CacheConfig = { dtype: "q8", keyWidth: 8, ropeWidth: 2, groups: [2, 2, 2, 2] };
    const factors = Float32Array.from([0, 0, 1e-36, -1e-36, Infinity, 1, 100, -50]);
    const queries = { dtype: "f32", keyWidth: 8, ropeWidth: 2 } as const;
    const sizes = { latentWidth: 8, rowStride: 10, slots: 1, heads: 1, queryWidth: 2, positions: 1, shortPositions: 0 };
    const config = { cache, ...sizes, eps: 0, basis: "diagonal", queries, interleaved: true } as const;
    const inputs = {
      x: new Float32Array(10).fill(1),
      basis: factors,
      step: new Uint32Array(4),
      table: Float32Array.from([1, 0]),
      q: new Float32Array(2),
      queries: { poison: 16 },
      cache: { poison: cacheTokenBytes(cache) / 4 },
    };
    const stored = await runKernel(device, ropeStore, config, inputs, { rows: 1, absorbed_rows: 0 });
    const [a, b, c, d, e, f, ...others] = unpackCache(cache, new Uint8Array(stored.cache.f32.buffer));
    assertEquals([a, b, c, d].map(Math.abs), [0, 0, 0, 0]);
    assert(!Number.isFinite(e) && !Number.isFinite(f), `${e} and ${f} for what is not finite`);
    assertClose(others, [100, -50.39, 1, 1, 0, 0, 0, 0, 0, 0], 1e-4, "the other group and the rotated key");
  });
});

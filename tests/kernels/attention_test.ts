import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { ropeTable } from "../../core/model/rope.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { exportedConfig } from "../../kernels/latent_export/kept_columns.ts";
import { latentExport } from "../../kernels/latent_export/latent_export.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { ropeStore } from "../../kernels/rope_store/rope_store.ts";
import { dividePrefill, mlaPrefillMatrix, PREFILL_DIVISIONS, prefillDivides } from "../../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillBindings, type MlaPrefillConfig, type MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import { prefillMerge } from "../../kernels/mla_prefill/prefill_merge.ts";
import type { Kernel } from "../../kernels/authoring/contract.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { tested } from "../support/extent.ts";
import { type Output, runKernel } from "../support/kernel.ts";
import { attend, packCache, rounded } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

describeOnDevices("latent attention", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const dtype of ["f32", "f16"] as const) {
    for (const basis of ["diagonal", "dense", { sliced: 40.5 }] as const) {
      const interleaved = basis !== "dense";
      it(`rotates queries and keys, ${interleaved ? "interleaved" : "half-split"}, and stores latents in ${dtype} under a ${JSON.stringify(basis)} basis`, async () => {
        const random = new Random();
        const [latentWidth, ropeWidth, rows, slots, eps] = [61, 6, 3, 5, 1e-6];
        const keyWidth = basis === "diagonal" ? latentWidth : 33;
        const cache: CacheConfig = { dtype, keyWidth, ropeWidth };
        const rowStride = latentWidth + ropeWidth;
        const x = random.normals(rows * rowStride, 2);
        const transform = random.normals(basis === "diagonal" ? latentWidth : keyWidth * latentWidth, 0.3);
        const where = [4, 0, 2];
        const positions = [49, 0, 7];
        const [heads, perHead] = [3, 13];
        const q = random.normals(rows * heads * perHead);
        const turned = Float64Array.from(q);
        /** d_r floats rotated by the angles of a position, in float64. */
        const rotated = (values: readonly number[], position: number) => {
          const result = [...values];
          for (let pair = 0; pair < ropeWidth / 2; pair++) {
            const [a, b] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + ropeWidth / 2];
            const angle = position * 10000 ** (-pair / (ropeWidth / 2));
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
          expected.set(rotated(key, positions[row]), slot * width + ropeOffset(cache));
          for (let end = (row * heads + 1) * perHead; end <= (row + 1) * heads * perHead; end += perHead) {
            turned.set(rotated([...q.subarray(end - ropeWidth, end)], positions[row]), end - ropeWidth);
          }
        });
        const queries = { dtype: "f32", keyWidth, ropeWidth } as const;
        const config = { cache, latentWidth, rowStride, eps, basis, slots, heads, queryWidth: perHead, queries, interleaved, positions: 50 };
        const table = ropeTable({ width: ropeWidth, theta: 10000, interleaved, yarn: null, longRope: null }, 50);
        const step = Uint32Array.from(where.flatMap((slot, row) => [0, positions[row], slot, 0]));
        const inputs = { x, basis: transform, step, table, q, queries: { poison: rows * heads * width }, cache: packCache(cache, pages) };
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
        const actual = dtype === "f32" ? result.cache.f32 : Float32Array.from(new Float16Array(result.cache.f32.buffer, 0, slots * width));
        assertClose(actual, expected, dtype === "f32" ? 1e-5 : 2e-3, "cache");
        const untouched = await runKernel(device, ropeStore, config, inputs, { rows: 0, absorbed_rows: 0 });
        assertClose(untouched.q.f32, q, 0, "no rows");
        assertEquals(new Uint8Array(untouched.cache.f32.buffer), packCache(cache, pages));
      });
    }

    it(`gathers a window of ${dtype} latents through the block table`, async () => {
      const random = new Random();
      const cache: CacheConfig = { dtype, keyWidth: 13, ropeWidth: 4 };
      const [blocks, count, start] = [4, 90, 61];
      const width = cacheWidth(cache);
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      const tables = Uint32Array.from([9, 9, 3, 0, 2]);
      const inputs = { cache: packCache(cache, values), tables, latents: { poison: count * 13 }, rope_keys: { poison: count * 4 } };
      const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, output: "f32" } as const;
      const result = await runKernel(device, latentGather, config, inputs, { count, start, table: 2 });
      const stored = rounded(dtype, values);
      for (let i = 0; i < count; i++) {
        const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
        assertEquals(result.latents.f32.subarray(i * 13, (i + 1) * 13), stored.slice(slot * width, slot * width + 13));
        assertEquals(
          result.rope_keys.f32.subarray(i * 4, (i + 1) * 4),
          stored.slice(slot * width + ropeOffset(cache), slot * width + ropeOffset(cache) + 4),
        );
      }
    });

    it(`cuts ranks' columns out of ${dtype} latents, bit for bit`, async () => {
      const random = new Random();
      const cache: CacheConfig = { dtype, keyWidth: 13, ropeWidth: 4 };
      const [blocks, start, offset] = [4, 61, 6];
      const width = cacheWidth(cache);
      const values = random.normals(blocks * BLOCK_TOKENS * width);
      const stored = rounded(dtype, values);
      const tables = Uint32Array.from([9, 9, 3, 0, 2]);
      // Whole, a slice, a slice with a halo before it, one odd column: pairs of the source and of the result do not line up.
      for (const columns of [[[0, 13]], [[7, 13]], [[0, 3], [8, 11]], [[5, 6]]]) {
        const kept = columns.flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i));
        const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, columns: columns.map(([begin, end]) => ({ begin, end })) };
        const keptWidth = cacheWidth(exportedConfig(config));
        for (const count of [0, 1, 61, 90]) {
          const words = offset + count * keptWidth / (dtype === "f16" ? 2 : 1);
          const inputs = { cache: packCache(cache, values), tables, out: { poison: words } };
          const { out } = await runKernel(device, latentExport, config, inputs, { count, start, table: 2, offset });
          const exported = dtype === "f32" ? out.f32.slice(offset) : Float32Array.from(new Float16Array(out.f32.buffer, offset * 4));
          const expected = new Float32Array(count * keptWidth);
          for (let i = 0; i < count; i++) {
            const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
            kept.forEach((column, k) => expected[i * keptWidth + k] = stored[slot * width + column]);
            const rope = ropeOffset(cache);
            expected.set(stored.subarray(slot * width + rope, (slot + 1) * width), i * keptWidth + ropeOffset(exportedConfig(config)));
          }
          assertEquals(exported, expected);
          assert(out.f32.subarray(0, offset).every(Number.isNaN), "words before the offset stay as they were");
        }
      }
    });
  }

  it("gathers latents in f16 as they lie", async () => {
    const random = new Random();
    const cache = { dtype: "f16", keyWidth: 24, ropeWidth: 8 } as const;
    const [blocks, count, start] = [4, 90, 61];
    const values = random.normals(blocks * BLOCK_TOKENS * 32);
    const tables = Uint32Array.from([9, 9, 3, 0, 2]);
    const inputs = { cache: packCache(cache, values), tables, latents: { poison: count * 12 }, rope_keys: { poison: count * 4 } };
    const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords: 5, output: "f16" } as const;
    assert(gathersHalves(cache) && !gathersHalves({ ...cache, ropeWidth: 4 }));
    const result = await runKernel(device, latentGather, config, inputs, { count, start, table: 2 });
    const stored = Float16Array.from(values);
    const [latents, ropeKeys] = [new Float16Array(result.latents.u32.buffer), new Float16Array(result.rope_keys.u32.buffer)];
    for (let i = 0; i < count; i++) {
      const slot = tables[2 + Math.floor((start + i) / 64)] * 64 + (start + i) % 64;
      assertEquals(latents.subarray(i * 24, (i + 1) * 24), stored.slice(slot * 32, slot * 32 + 24));
      assertEquals(ropeKeys.subarray(i * 8, (i + 1) * 8), stored.slice(slot * 32 + 24, (slot + 1) * 32));
    }
  });

  for (
    const config of [
      { heads: 3, nopeWidth: 10, ropeWidth: 4, valueWidth: 19, scale: 0.4, split: 32 },
      // Whole quads, of more columns than are multiplied at a time, and more values than threads that share a query.
      { heads: 2, nopeWidth: 36, ropeWidth: 12, valueWidth: 72, scale: 0.2, split: 40 },
    ]
  ) {
    it(`prefills in splits and chunks with the same bits, and exactly, heads of ${config.nopeWidth} + ${config.ropeWidth} columns`, async () => {
      await prefillInChunks(device, mlaPrefill, config, { chunks: [1, 7, 33, 28, 61] }, 1e-5);
    });
  }

  const onUnits: readonly (Omit<MlaPrefillConfig, "split"> & { readonly growth?: number; readonly sink?: number })[] = [
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2 },
    // Eights of columns that threads do not share evenly.
    { heads: 1, nopeWidth: 72, ropeWidth: 8, valueWidth: 96, scale: 0.2 },
    { heads: 1, nopeWidth: 128, ropeWidth: 64, valueWidth: 128, scale: 0.1 },
    { heads: 1, nopeWidth: 192, ropeWidth: 64, valueWidth: 256, scale: 0.1 },
    // Scores that grow with the position, so that the reference has to follow them.
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2, growth: 60 },
    // A first token that draws most of the attention and has no values, so that the weights of the others must be exact.
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2, sink: 10 },
  ];
  const stays = (_: unknown, index: number) => index === 1 || index === 4;
  for (const { growth = 0, sink = 0, ...shape } of kind === "cpu" ? tested("shapes on matrix units", onUnits, stays) : onUnits) {
    const config = { ...shape, split: 64 };
    const name = `heads of ${config.nopeWidth} + ${config.ropeWidth} columns${growth > 0 ? ", scores growing" : sink > 0 ? ", with a sink" : ""}`;
    const divisions = PREFILL_DIVISIONS.filter((division) => prefillDivides(config, division, UNITS_WORKGROUP_BYTES));
    assertEquals(divisions[0], dividePrefill(config, UNITS_WORKGROUP_BYTES) ?? undefined);
    itOnUnits(kind)(`prefills in splits and chunks with the same bits on matrix units, ${name}, however it is divided`, async () => {
      const halves = { chunks: [1, 70, 96, 13], growth, sink, halves: true };
      for (const division of divisions) await prefillInChunks(unitsOf(device), mlaPrefillMatrix, { ...config, division }, halves, 2e-3);
    });
  }
});

/**
 * Prefills all at once, which must be right, and chunk by chunk, which must be the same.
 *
 * `growth`: how far scores grow along the sequence; `sink`: how far the first is above the others.
 */
async function prefillInChunks<C extends MlaPrefillConfig>(
  device: Device,
  kernel: Kernel<C, MlaPrefillBindings, MlaPrefillParams>,
  config: C,
  { chunks, growth = 0, sink = 0, halves = false }: {
    readonly chunks: readonly number[];
    readonly growth?: number;
    readonly sink?: number;
    /** Whether keys and values are in f16. */
    readonly halves?: boolean;
  },
  tolerance: number,
): Promise<void> {
  const { heads, nopeWidth, ropeWidth, valueWidth, scale, split } = config;
  const random = new Random();
  const length = chunks.reduce((sum, chunk) => sum + chunk);
  const width = nopeWidth + ropeWidth;
  const q = random.normals(length * heads * width);
  const keys = random.normals(length * heads * nopeWidth);
  const ropeKeys = random.normals(length * ropeWidth);
  const values = random.normals(length * heads * valueWidth);
  for (let key = 0; growth > 0 && key < length; key++) {
    ropeKeys[(key + 1) * ropeWidth - 1] = Math.round(growth / scale * key / length); // as f16 has it
    for (let head = 0; head < heads; head++) q[(key * heads + head + 1) * width - 1] = head;
  }
  if (sink > 0) {
    for (let key = 0; key < length; key++) ropeKeys[(key + 1) * ropeWidth - 1] = key === 0 ? sink / scale : 0;
    for (let item = 0; item < length * heads; item++) q[(item + 1) * width - 1] = 1;
    values.fill(0, 0, heads * valueWidth);
  }
  const cut = (of: Float32Array<ArrayBuffer>, width: number, from: number, to: number) => {
    const part = of.slice(from * width, to * width);
    return halves ? Float16Array.from(part) : part;
  };
  /** @param together splits that are attended to at once @param apart whether their keys are the only ones there */
  const rows = async (first: number, count: number, together: number, apart: boolean) => {
    let state: Output | null = null;
    let out: Output | null = null;
    const end = first + count;
    for (let start = 0; start < end; start += together * split) {
      const stop = Math.min(end, start + together * split);
      const [from, to] = apart ? [start, stop] : [0, length];
      const splits = Math.ceil((stop - start) / split);
      const split_rows = splits * count;
      const parts: Record<"state" | "out", Output> = await runKernel(device, kernel, config, {
        q: q.slice(first * heads * width, end * heads * width),
        keys: cut(keys, heads * nopeWidth, from, to),
        rope_keys: cut(ropeKeys, ropeWidth, from, to),
        values: cut(values, heads * valueWidth, from, to),
        state: { poison: split_rows * heads * 2 },
        out: { poison: split_rows * heads * valueWidth },
      }, { rows: count, first_position: first, first: start - from, end: stop - from, start, split_rows });
      const merged: Record<"state" | "out", Output> = await runKernel(device, prefillMerge, { heads, valueWidth, split, powersOfTwo: halves }, {
        split_state: parts.state.f32,
        split_out: parts.out.f32,
        state: state?.f32 ?? { poison: count * heads * 2 },
        out: out?.f32 ?? { poison: count * heads * valueWidth },
      }, { rows: count, first_position: first, start, end: stop, last: stop === end ? 1 : 0, split_rows });
      ({ state, out } = merged);
    }
    return out!.f32;
  };
  const whole = await rows(0, length, Infinity, false);
  const expected = Array.from({ length: length * heads }, (_, item) => {
    const [row, head] = [Math.floor(item / heads), item % heads];
    const scores = Float64Array.from({ length: row + 1 }, (_, key) => {
      let score = 0;
      for (let d = 0; d < nopeWidth; d++) score += q[item * width + d] * keys[(key * heads + head) * nopeWidth + d];
      for (let d = 0; d < ropeWidth; d++) score += q[item * width + nopeWidth + d] * ropeKeys[key * ropeWidth + d];
      return score * scale;
    });
    return attend(scores, values, Array.from(scores, (_, key) => (key * heads + head) * valueWidth), valueWidth);
  }).flat();
  assertClose(whole, expected, tolerance, `prefill by ${JSON.stringify(config)}`);
  let done = 0;
  for (const [i, chunk] of chunks.entries()) {
    const part = await rows(done, chunk, 1 + i % 3, i % 2 === 0);
    assertEquals(part, whole.slice(done * heads * valueWidth, (done + chunk) * heads * valueWidth), `chunk of ${chunk} at ${done}`);
    done += chunk;
  }
}

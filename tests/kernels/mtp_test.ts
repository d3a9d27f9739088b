/** What a multi-token-prediction layer takes in, and what is kept for it. */
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { keepHidden, NOT_KEPT } from "../../kernels/keep_hidden/keep_hidden.ts";
import { FROM_STREAM, mtpJoin, NO_HIDDEN } from "../../kernels/mtp_join/mtp_join.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

const EPS = 1e-5;

/** In float64. */
function norm(row: ArrayLike<number>, gamma: ArrayLike<number>): number[] {
  const values = Array.from(row);
  const scale = 1 / Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length + EPS);
  return values.map((value, k) => value * scale * gamma[k]);
}

describeOnDevices("kernels of multi-token prediction", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("joins embeddings with hidden states of the stream, of those that were kept, and with none", async () => {
    const random = new Random();
    for (const [rows, width] of [[1, 1], [4, 61], [5, 69], [3, 512], [0, 8], [7, 260]]) {
      const row = (values: Float32Array, at: number) => values.subarray(at * width, (at + 1) * width);
      const [embedded, x, kept] = [rows, rows, 6].map((count) => random.normals(count * width));
      const [embeddingNorm, hiddenNorm, finalNorm] = [0, 1, 2].map(() => random.normals(width));
      const from = Array.from({ length: rows }, (_, i) => [NO_HIDDEN, FROM_STREAM + random.below(rows), random.below(6)][i % 3]);
      const { y } = await runKernel(device, mtpJoin, { width, eps: EPS }, {
        embedded,
        x,
        kept,
        embedding_norm: embeddingNorm,
        hidden_norm: hiddenNorm,
        final_norm: finalNorm,
        places: Uint32Array.from(from.flatMap((place) => [place, NOT_KEPT])),
        y: { poison: rows * width * 2 },
      }, { rows });
      const hidden = (place: number) => {
        if (place === NO_HIDDEN) return new Float32Array(width);
        return place >= FROM_STREAM ? norm(row(x, place - FROM_STREAM), finalNorm) : row(kept, place);
      };
      const expected = from.flatMap((place, i) => [...norm(row(embedded, i), embeddingNorm), ...norm(hidden(place), hiddenNorm)]);
      assertClose(y.f32, expected, 1e-5, `${rows}×${width}`);
    }
  });

  it("keeps rows where they belong, and nothing else changes", async () => {
    const random = new Random();
    for (const [rows, width] of [[1, 1], [5, 69], [3, 512], [0, 8], [7, 260]]) {
      const capacity = 9;
      const [x, gamma, before] = [rows, 1, capacity].map((count) => random.normals(count * width));
      const to = Array.from({ length: rows }, (_, i) => i % 3 === 1 ? NOT_KEPT : (i * 4 + 1) % capacity);
      const { kept } = await runKernel(device, keepHidden, { width, eps: EPS, capacity }, {
        x,
        gamma,
        places: Uint32Array.from(to.flatMap((place) => [NO_HIDDEN, place])),
        kept: before.slice(),
      }, { rows });
      for (let place = 0; place < capacity; place++) {
        const actual = kept.f32.subarray(place * width, (place + 1) * width);
        const from = to.indexOf(place);
        if (from < 0) assertEquals(actual, before.subarray(place * width, (place + 1) * width));
        else assertClose(actual, norm(x.subarray(from * width, (from + 1) * width), gamma), 1e-5, `${rows}×${width}`);
      }
    }
  });
});

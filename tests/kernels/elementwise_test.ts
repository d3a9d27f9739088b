import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { basisChange } from "../../kernels/basis_change/basis_change.ts";
import { adjustLogits } from "../../kernels/adjust_logits/adjust_logits.ts";
import { moeCombine } from "../../kernels/moe_combine/moe_combine.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";
import { sumParts } from "../../kernels/residual_add/sum_parts.ts";
import { residualSum } from "../../kernels/residual_add/residual_sum.ts";
import { addRmsNorm, combineRmsNorm } from "../../kernels/rms_norm/add_rms_norm.ts";
import { alsoRounded } from "../../kernels/linear/also_rounded.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { scaleQueries } from "../../kernels/scale_queries/scale_queries.ts";
import { sumRmsNorm } from "../../kernels/rms_norm/sum_rms_norm.ts";
import { floatBits, roundUp } from "../../core/numeric.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { type Output, runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

const TOLERANCE = 1e-5;
const SIZES = [[1, 1], [3, 61], [5, 69], [2, 512], [3, 1100], [0, 8]] as const;

function concatenated(parts: readonly (Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>)[]): Uint8Array<ArrayBuffer> {
  const bytes = parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  const all = new Uint8Array(bytes.reduce((sum, { byteLength }) => sum + byteLength, 0));
  bytes.reduce((at, part) => (all.set(part, at), at + part.byteLength), 0);
  return all;
}

describeOnDevices("element-wise kernels", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("scale_queries", async () => {
    const random = new Random();
    for (const [rows, width] of SIZES) {
      const positions = 40;
      const [q, factors] = [random.normals(rows * width), random.normals(positions)];
      const at = Array.from({ length: rows }, () => random.below(positions));
      const step = Uint32Array.from(at.flatMap((position, row) => [1000 + row, position, 7, 7]));
      const result = await runKernel(device, scaleQueries, { width, positions }, { factors, step, q }, { rows });
      assertClose(result.q.f32, q.map((value, i) => value * factors[at[Math.floor(i / width)]]), TOLERANCE, `scale_queries ${rows}×${width}`);
    }
  });

  it("rms_norm", async () => {
    const random = new Random();
    for (const [rows, width] of SIZES) {
      const [inputStride, first_row, eps] = [width + (rows === 2 ? 8 : 5), 2, 1e-6];
      const x = random.normals((rows + first_row) * inputStride + width, 3);
      const gamma = random.normals(width);
      const expected: number[] = [];
      for (let r = 0; r < rows; r++) {
        const row = [...x.subarray((r + first_row) * inputStride, (r + first_row) * inputStride + width)];
        const rms = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + eps);
        expected.push(...row.map((v, k) => (v / rms) * gamma[k]));
      }
      const { y } = await runKernel(device, rmsNorm, { width, inputStride, eps }, { x, gamma, y: { poison: Math.max(1, rows * width) } }, {
        rows,
        first_row,
      });
      assertClose(y.f32.subarray(0, rows * width), expected, TOLERANCE, `rms_norm ${rows}×${width}`);

      const delta = random.normals(Math.max(1, rows * width), 2);
      const stream = Float32Array.from({ length: Math.max(1, rows * width) }, (_, i) => x[i]);
      const sums = Float64Array.from({ length: rows * width }, (_, i) => Math.fround(stream[i] + delta[i]));
      const inputs = { x: stream, delta, gamma, y: { poison: Math.max(1, rows * width) } };
      const added = await runKernel(device, addRmsNorm, { width, eps }, inputs, { rows });
      assertClose(added.x.f32.subarray(0, rows * width), sums, TOLERANCE, "residual stream");
      const normed = sums.map((value, i) => {
        const row = sums.subarray(Math.floor(i / width) * width, (Math.floor(i / width) + 1) * width);
        return value / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / width + eps) * gamma[i % width];
      });
      assertClose(added.y.f32.subarray(0, rows * width), normed, TOLERANCE, `add_rms_norm ${rows}×${width}`);
    }
  });

  it("norms that are also wanted in f16 give the same rows, and what f16 makes of them", async () => {
    const random = new Random();
    for (const [rows, width] of [[0, 8], [1, 8], [3, 64], [2, 1032]]) {
      const values = Math.max(2, rows * width);
      const [x, delta, gamma] = [random.normals(values + width), random.normals(values), random.normals(width, 1e4)];
      const [y, rounded] = [{ poison: values }, { poison: values / 2 }];
      const check = (both: { readonly y: Output; readonly rounded: Output }, alone: { readonly y: Output }, what: string) => {
        assertEquals(both.y.u32, alone.y.u32, what);
        const most = (value: number) => Math.max(-65504, Math.min(65504, value));
        assertEquals(
          [...new Float16Array(both.rounded.u32.buffer)].slice(0, rows * width),
          [...alone.y.f32.map(most)].slice(0, rows * width).map(Math.f16round),
        );
      };
      const norm = { width, inputStride: width, eps: 1e-6 };
      const alone = await runKernel(device, rmsNorm, norm, { x, gamma, y }, { rows, first_row: 1 });
      check(await runKernel(device, alsoRounded(rmsNorm), norm, { x, gamma, y, rounded }, { rows, first_row: 1 }), alone, "rms_norm");
      const stream = { x: x.slice(0, values), delta, gamma, y };
      const added = await runKernel(device, addRmsNorm, norm, stream, { rows });
      check(await runKernel(device, alsoRounded(addRmsNorm), norm, { ...stream, rounded }, { rows }), added, "add_rms_norm");
      const experts = { ...stream, gates: random.normals(Math.max(1, rows) * 2), expert_out: random.normals(values * 2) };
      const combine = { ...norm, activeExperts: 2, addToShared: true };
      const combined = await runKernel(device, combineRmsNorm, combine, experts, { rows });
      check(await runKernel(device, alsoRounded(combineRmsNorm), combine, { ...experts, rounded }, { rows }), combined, "combine_rms_norm");
      const ranks = { width, eps: 1e-6, ranks: 2, rank: 1, wire: "f32" } as const;
      const parts = { x: stream.x, gamma, y, own: delta, others: random.normals(values) };
      const summed = await runKernel(device, sumRmsNorm, ranks, parts, { rows });
      check(await runKernel(device, alsoRounded(sumRmsNorm), ranks, { ...parts, rounded }, { rows }), summed, "sum_rms_norm");
    }
  });

  it("basis_change", async () => {
    const random = new Random();
    for (const [rows, width, columns, stride] of [[1, 1, 1, 1], [61, 69, 5, 8], [16, 16, 16, 16], [33, 40, 17, 20], [0, 8, 4, 4]] as const) {
      const [matrix, factors] = [random.normals(Math.max(1, rows * width)), random.normals(columns * width)];
      const inputs = { matrix, factors, y: { poison: Math.max(1, rows * stride) } };
      const { y } = await runKernel(device, basisChange, { width }, inputs, { rows, columns, stride });
      for (let row = 0; row < rows; row++) {
        const expected = Array.from(
          { length: columns },
          (_, c) => factors.subarray(c * width, (c + 1) * width).reduce((sum, factor, j) => sum + factor * matrix[row * width + j], 0),
        );
        assertClose(y.f32.subarray(row * stride, row * stride + columns), expected, TOLERANCE, `basis_change ${rows}×${width}×${columns}`);
        // What is beyond the columns stays as it was.
        assertEquals(y.f32.subarray(row * stride + columns, (row + 1) * stride).every(Number.isNaN), true);
      }
    }
  });

  it("residual_add and moe_combine", async () => {
    const random = new Random();
    for (const [rows, width] of SIZES) {
      const [x, delta] = [random.normals(Math.max(1, rows * width)), random.normals(Math.max(1, rows * width))];
      const added = await runKernel(device, residualAdd, { width }, { delta, x }, { rows });
      assertClose(added.x.f32.subarray(0, rows * width), x.subarray(0, rows * width).map((v, i) => v + delta[i]), TOLERANCE, "residual_add");

      const activeExperts = 3;
      const gates = random.normals(Math.max(1, rows) * activeExperts);
      const expertOut = random.normals(Math.max(1, rows) * activeExperts * width);
      for (const addToShared of [true, false]) {
        const sums = Array.from({ length: rows * width }, (_, i) => {
          const [token, d] = [Math.floor(i / width), i % width];
          let sum = addToShared ? x[i] : 0;
          for (let k = 0; k < activeExperts; k++) sum += gates[token * activeExperts + k] * expertOut[(token * activeExperts + k) * width + d];
          return sum;
        });
        const inputs = { gates, expert_out: expertOut, y: addToShared ? x : { poison: Math.max(1, rows * width) } };
        const { y } = await runKernel(device, moeCombine, { width, activeExperts, addToShared }, inputs, { tokens: rows });
        assertClose(y.f32.subarray(0, rows * width), sums, TOLERANCE, `moe_combine, added to shared: ${addToShared}`);

        const [gamma, poison] = [random.normals(width), { poison: Math.max(1, rows * width) }];
        const config = { width, eps: 1e-6, activeExperts, addToShared };
        const apart = await runKernel(device, addRmsNorm, config, { x: delta, delta: y.f32, gamma, y: poison }, { rows });
        const inOne = { x: delta, delta: x, gamma, y: poison, gates, expert_out: expertOut };
        const together = await runKernel(device, combineRmsNorm, config, inOne, { rows });
        assertEquals(together.x.u32, apart.x.u32, "residual stream after moe_combine and add_rms_norm in one");
        assertEquals(together.y.u32, apart.y.u32, "moe_combine and add_rms_norm in one");
      }
    }
  });

  it("sums of ranks' parts are added in rank order, to the last bit as if they had been summed before, on every rank", async () => {
    const random = new Random();
    for (const wire of ["f32", "f16"] as const) {
      for (const [rows, width] of [[3, 61], [2, 512], [0, 8]].filter(([, width]) => wire === "f32" || width % 4 === 0)) {
        for (const ranks of [2, 4]) {
          const values = Math.max(1, rows * width);
          const stored = (part: Float32Array<ArrayBuffer>) => wire === "f32" ? part : Float16Array.from(part);
          // Numbers of different sizes, so that another order would give other bits.
          const parts = Array.from(
            { length: ranks },
            (_, r) => stored(random.normals(roundUp(values, 8), 10 ** r)).slice(0, rows === 0 ? 8 : values),
          );
          const [x, gamma] = [random.normals(values, 30), random.normals(width)];
          const delta = Float32Array.from(parts[0]);
          for (const part of parts.slice(1)) for (let i = 0; i < delta.length; i++) delta[i] += part[i];
          const poison = { poison: values };
          const normed = await runKernel(device, addRmsNorm, { width, eps: 1e-6 }, { x, delta, gamma, y: poison }, { rows });
          for (const rank of new Set([0, 1, ranks - 1])) {
            const config = { width, ranks, rank, wire };
            const inputs = { x, own: parts[rank], others: concatenated(parts.filter((_, r) => r !== rank)) };
            const summed = await runKernel(device, sumRmsNorm, { ...config, eps: 1e-6 }, { ...inputs, gamma, y: poison }, { rows });
            assertEquals(summed.x.u32, normed.x.u32, `residual stream of rank ${rank} of ${ranks}, ${rows}×${width} ${wire}`);
            assertEquals(summed.y.u32, normed.y.u32, `normed, rank ${rank} of ${ranks}, ${rows}×${width} ${wire}`);
            const { x: added } = await runKernel(device, residualSum, config, inputs, { rows });
            assertEquals(added.u32, normed.x.u32, `residual_sum, rank ${rank} of ${ranks}, ${rows}×${width} ${wire}`);
            const { y: apart } = await runKernel(device, sumParts, config, { own: inputs.own, others: inputs.others, y: poison }, { rows });
            const expected = rows === 0 ? normed.y.u32 : new Uint32Array(delta.slice(0, values).buffer);
            assertEquals(apart.u32, expected, `sum_parts, rank ${rank} of ${ranks}, ${rows}×${width} ${wire}`);
          }
        }
      }
    }
  });

  it("adjust_logits divides or multiplies by the penalty, then adds", async () => {
    const logits = Float32Array.from([2, -2, 3, 4, 5, -6]);
    const adjustments = Uint32Array.from([[0, 10, 2, 1], [0, 11, 2, 0.5], [1, 12, 1, -8], [1, 99, 2, 5]].flatMap(([row, token, penalty, addend]) => [
      row,
      token,
      floatBits(penalty),
      floatBits(addend),
    ]));
    const result = await runKernel(device, adjustLogits, { vocabulary: 3 }, { adjustments, logits }, { count: 4, rows: 2, first_token: 10 });
    assertClose(result.logits.f32, [2, -3.5, 3, 4, 5, -14], 0, "adjusted");
  });
});

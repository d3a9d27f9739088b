/**
 * Levels as checkpoints have them, multiplied on device `wasm`, which has several ways to.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { Random } from "../../bench/support/random.ts";
import { allocateRows, matrixLayout } from "../../core/model/packing.ts";
import { floatBits, halfBits } from "../../core/numeric.ts";
import { WasmDevice } from "../../kernels/device/wasm/wasm_device.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import { matmul } from "../../kernels/linear/matmul.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { assertClose } from "../support/compare.ts";
import { runKernel } from "../support/kernel.ts";
import { multiplied, randomMatrix } from "../support/matrices.ts";

/** Sums in float32 are off by about half of it. */
const TOLERANCE = 9e-7;
/**
 * Of levels of four bits and few rows, whose inputs are split into 24 bits: they are off by 1.8e-7. With 22 bits, or where lanes take zero points off other columns than
 * theirs, they would be by more.
 */
const SPLIT_TOLERANCE = 3e-7;

/** Levels as GGUF files and others have them: Q4_0, AWQ, Q4_K, Q3_K, Q2_K, groups of whole rows; Q8_0, Q6_K, Q5_K. */
const LEVELS = [
  ["int4", 32, "f16"],
  ["int4", 128, "bf16-zero"],
  ["int4", 32, "f32-zero"],
  ["int4", 16, "f32"],
  ["int4", 16, "f32-zero"],
  ["int4", 1344, "bf16"],
  ["int8", 32, "f16"],
  ["int8", 16, "f32"],
  ["int8", 32, "f32-zero"],
] as const;

describe("levels on wasm", () => {
  let device: WasmDevice;
  beforeAll(async () => void (device = await WasmDevice.open()));
  afterAll(() => device.close());

  it("gives levels as checkpoints have them the same bits however many rows there are, and those of blocks of any size", async () => {
    const random = new Random();
    for (const [format, group, scaling] of LEVELS) {
      // Sums of integers of 256 columns are as many as fit; what is left of a group, and of a step of columns, is at the end.
      for (const [columns, outputs] of [[1328, 13], [group * 3, 6], [40, 5]]) {
        const layout = matrixLayout(format, columns, group, scaling);
        const { packed, values } = randomMatrix(random, layout, outputs);
        const config: LinearConfig = { layout, outputs, inputStride: columns, input: "plain", select: { kind: "all" } };
        const x = random.normals(40 * columns);
        const run = async (kernel: "matvec" | "matmul", items: number) => {
          const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: items * outputs } };
          const params = { items, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
          const { y } = kernel === "matmul"
            ? await runKernel(device, matmul, { ...config, select: { kind: "all" }, plan: null }, inputs, params)
            : await runKernel(device, matvec, { ...config, itemsAtOnce: 4 }, inputs, params);
          return y;
        };
        const name = `${format} ${scaling} by ${group}, ${columns} columns`;
        for (const kernel of ["matvec", "matmul"] as const) {
          const all = await run(kernel, 40);
          const isSplit = kernel === "matvec" && format === "int4" && group % 32 === 0;
          const expected = multiplied(values, x, config, Array.from({ length: 40 }, (_, i) => ({ matrix: 0, input: i })), false);
          assertClose(all.f32.subarray(0, 40 * outputs), expected, isSplit ? SPLIT_TOLERANCE : TOLERANCE, `${kernel} ${name}`);
          for (const items of [1, 2, 3, 7, 17]) {
            assertEquals((await run(kernel, items)).u32.subarray(0, items * outputs), all.u32.subarray(0, items * outputs), `${kernel} ${name}`);
          }
        }
      }
    }
  });

  it("keeps what inputs come to beside some that are hundreds of times as large, as models have them", async () => {
    const random = new Random();
    const [columns, outputs] = [1344, 64];
    for (const [group, scaling] of [[32, "f16"], [128, "f16"], [1344, "bf16"]] as const) {
      const layout = matrixLayout("int4", columns, group, scaling);
      const { packed, values } = randomMatrix(random, layout, outputs);
      const x = random.normals(columns);
      // What is large is multiplied by nothing, so that all the rest is left to compare.
      for (const column of [70, 1300]) {
        x[column] = 300;
        for (let row = 0; row < outputs; row++) {
          values[row * columns + column] = 0;
          const at = row * layout.rowBytes + (column >> 1);
          packed.data[at] = packed.data[at] & 0xf0 | 8;
        }
      }
      const config: LinearConfig = { layout, outputs, inputStride: columns, input: "plain", select: { kind: "all" } };
      const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: outputs } };
      const params = { items: 1, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
      const { y } = await runKernel(device, matvec, { ...config, itemsAtOnce: 4 }, inputs, params);
      const expected = multiplied(values, x, config, [{ matrix: 0, input: 0 }], false);
      assertClose(y.f32.subarray(0, outputs), expected, 8e-6, `${scaling} by ${group}`);
    }
  });

  it("adds up the largest levels and inputs that there can be", async () => {
    const [columns, outputs] = [1024, 3];
    // Levels of 15 without a zero point, and of none with one of 16: what is least and most of a column.
    for (const [scaling, level, zero] of [["f32-zero", 15, 0], ["f16", 15, 8], ["bf16-zero", 0, 16], ["f32-zero", 0, 16]] as const) {
      for (const group of [32, 512, columns]) {
        const layout = matrixLayout("int4", columns, group, scaling);
        const { data, scales } = allocateRows(layout, outputs);
        data.fill(level * 17);
        const words = new Uint32Array(scales.buffer);
        if (scaling === "f16") new Uint16Array(scales.buffer).fill(halfBits(1));
        else if (scaling === "bf16-zero") words.fill(floatBits(1) >>> 16 | zero << 16);
        else words.forEach((_, i) => words[i] = floatBits(i % 2 === 0 ? 1 : zero));
        for (const sign of [1, -1]) {
          const x = new Float32Array(columns).fill(sign * 0.3);
          const config: LinearConfig = { layout, outputs, inputStride: columns, input: "plain", select: { kind: "all" } };
          const inputs = { weights: data, scales, routes: { poison: 1 }, x, y: { poison: outputs } };
          const params = { items: 1, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
          const { y } = await runKernel(device, matvec, { ...config, itemsAtOnce: 4 }, inputs, params);
          const expected = new Float64Array(outputs).fill((level - zero) * columns * x[0]);
          assertClose(y.f32.subarray(0, outputs), expected, TOLERANCE, `${scaling} by ${group}, levels of ${level}, inputs of ${x[0]}`);
        }
      }
    }
  });

  it("and other weights give no numbers of inputs that are none, and of those alone", async () => {
    const random = new Random();
    const stored = [...LEVELS, ["q8", 64, undefined], ["q4", 64, undefined], ["f16", 64, undefined], ["fp8", 64, undefined]] as const;
    for (const [format, group, scaling] of stored) {
      const [columns, outputs] = [1344, 5];
      const layout = matrixLayout(format, columns, group, scaling);
      const { packed } = randomMatrix(random, layout, outputs);
      for (const [at, value] of [[3, NaN], [columns - 1, NaN], [40, Infinity]]) {
        const x = random.normals(2 * columns);
        x[columns + at] = value;
        const config: LinearConfig = { layout, outputs, inputStride: columns, input: "plain", select: { kind: "all" } };
        const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: 2 * outputs } };
        const params = { items: 2, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
        const { y } = await runKernel(device, matvec, { ...config, itemsAtOnce: 4 }, inputs, params);
        const finite = Array.from(y.f32.subarray(0, 2 * outputs), Number.isFinite);
        assertEquals(finite, [...new Array(outputs).fill(true), ...new Array(outputs).fill(false)], `${format} ${scaling}: ${value} at ${at}`);
      }
    }
  });
});

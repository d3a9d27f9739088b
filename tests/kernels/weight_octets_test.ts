import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { matrixLayout, type Scaling, unpackRow } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device/device.ts";
import { batchUnits } from "../../kernels/linear/batch_units.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { makeTask, rounded, runTask } from "../support/linear_task.ts";
import { ALL_STORED, type Stored } from "../support/matrices.ts";
import { Random } from "../../bench/support/random.ts";

const COLUMNS = 256;
const OUTPUTS = 32;
const DIVISION = { columnParts: 2, outputParts: 1, outputTiles: 2, items: 64, depth: 64, ahead: 2 };

/** Beside what other kernels are tested with, scales of more bits, or fewer, than levels have as a rule. */
const STORED: readonly Stored[] = [...ALL_STORED.slice(1), ["int4", "f32"], ["int4", "f16"], ["int8", "f32"], ["int8", "bf16"]];

/** Bytes of E4M3 that are numbers. */
const NUMBERS = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => (byte & 0x7f) !== 0x7f);

/** Other scales, where there are no zero points among them. */
function fillScales(scaling: Scaling, { buffer }: Uint8Array<ArrayBuffer>, scale: () => number): void {
  if (scaling === "f32") new Float32Array(buffer).forEach((_, i, all) => all[i] = scale());
  if (scaling === "f16") new Float16Array(buffer).forEach((_, i, all) => all[i] = scale());
  // A bfloat16 is the upper half of a float32.
  if (scaling === "bf16") new Uint16Array(buffer).forEach((_, i, all) => all[i] = new Uint32Array(Float32Array.of(scale()).buffer)[0] >>> 16);
}

describeOnDevices("weights on their way to matrix units", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = unitsOf(await openTestDevice(kind))));
  afterAll(() => device.close());

  for (const [format, scaling] of STORED) {
    itOnUnits(kind)(`are rounded to f16 once, ${format} ${scaling ?? ""}, with small scales and large ones, subnormal numbers too`, async () => {
      const random = new Random();
      const layout = matrixLayout(format, COLUMNS, 32, scaling);
      const task = makeTask(random, { layout, outputs: OUTPUTS, rows: COLUMNS, select: { kind: "all" } });
      const { data, scales } = task.weights.packed;
      // Every stored number beside scales of 2^-20 to 2^6, which are not powers of two.
      if (format === "fp8") data.forEach((_, i) => data[i] = NUMBERS[i % NUMBERS.length]);
      fillScales(layout.scaling, scales, () => (random.below(2) - 0.5) * (2 + 2 * random.next()) * 2 ** (random.below(26) - 20));
      const values = new Float32Array(OUTPUTS * COLUMNS);
      const views = (bytes: Uint8Array<ArrayBuffer>) => ({ f32: new Float32Array(bytes.buffer), u16: new Uint16Array(bytes.buffer), u8: bytes });
      for (let row = 0; row < OUTPUTS; row++) unpackRow(layout, views(data), views(scales), row, values.subarray(row * COLUMNS, (row + 1) * COLUMNS));
      // Item k has a one in column k, and gets that column.
      task.x.fill(0);
      for (let item = 0; item < COLUMNS; item++) task.x[item * task.config.inputStride + item] = 1;
      const bits = await runTask(device, batchUnits, { division: DIVISION, output: "f32", mostItems: COLUMNS }, rounded(task));
      const got = new Float32Array(bits.buffer);
      // A driver may round scales of more bits to f16 by themselves, and NVIDIA's does.
      const roundings = layout.scaling === "f32" && kind === "dawn" ? 2 : 1.01;
      values.forEach((value, i) => {
        const is = got[i % COLUMNS * OUTPUTS + Math.floor(i / COLUMNS)];
        const bound = Math.abs(value) * 2 ** -11 * roundings + 2 ** -24;
        assert(Math.abs(is - value) <= bound, `${format}: ${value} became ${is}`);
      });
    });
  }

  itOnUnits(kind)("become the largest that f16 can hold, and no infinity, by scales that no model has", async () => {
    for (const format of ["fp8", "q8", "q4"] as const) {
      const task = makeTask(new Random(), { layout: matrixLayout(format, 64, 32), outputs: 8, rows: 2, select: { kind: "all" } });
      fillScales(task.config.layout.scaling, task.weights.packed.scales, () => 65504);
      task.x.fill(1);
      const bits = await runTask(device, batchUnits, { division: DIVISION, output: "f32", mostItems: 2 }, rounded(task));
      for (const sum of new Float32Array(bits.buffer)) assert(Math.abs(sum) <= 64 * 65504, `${format}: ${sum}`);
    }
  });
});

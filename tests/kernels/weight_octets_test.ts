import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { matrixLayout, unpackRow } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device/device.ts";
import { batchUnits } from "../../kernels/linear/batch_units.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { makeTask, rounded, runTask } from "../support/linear_task.ts";
import { ALL_STORED } from "../support/matrices.ts";
import { Random } from "../../bench/support/random.ts";

const COLUMNS = 256;
const OUTPUTS = 32;
const DIVISION = { columnParts: 2, outputParts: 1, outputTiles: 2, items: 64, depth: 64, ahead: 2 };

/** Bytes of E4M3 that are numbers. */
const NUMBERS = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => (byte & 0x7f) !== 0x7f);

describeOnDevices("weights on their way to matrix units", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = unitsOf(await openTestDevice(kind))));
  afterAll(() => device.close());

  for (const [format, scaling] of ALL_STORED.slice(1)) {
    itOnUnits(kind)(`are rounded to f16 once, ${format} ${scaling ?? ""}, with small scales and large ones, subnormal numbers too`, async () => {
      const random = new Random();
      const layout = matrixLayout(format, COLUMNS, 32, scaling);
      const task = makeTask(random, { layout, outputs: OUTPUTS, rows: COLUMNS, select: { kind: "all" } });
      const { data, scales } = task.weights.packed;
      // Every stored number beside scales of 2^-20 to 2^6, which are not powers of two.
      if (format === "fp8") data.forEach((_, i) => data[i] = NUMBERS[i % NUMBERS.length]);
      if (layout.scaling === "f32") {
        const f32 = new Float32Array(scales.buffer, scales.byteOffset, scales.byteLength / 4);
        f32.forEach((_, i) => f32[i] = (random.below(2) - 0.5) * (2 + 2 * random.next()) * 2 ** (random.below(26) - 20));
      }
      const values = new Float32Array(OUTPUTS * COLUMNS);
      const views = (bytes: Uint8Array<ArrayBuffer>) => ({ f32: new Float32Array(bytes.buffer), u16: new Uint16Array(bytes.buffer), u8: bytes });
      for (let row = 0; row < OUTPUTS; row++) unpackRow(layout, views(data), views(scales), row, values.subarray(row * COLUMNS, (row + 1) * COLUMNS));
      // Item k has a one in column k, and gets that column.
      task.x.fill(0);
      for (let item = 0; item < COLUMNS; item++) task.x[item * task.config.inputStride + item] = 1;
      const bits = await runTask(device, batchUnits, { division: DIVISION, output: "f32", mostItems: COLUMNS }, rounded(task));
      const got = new Float32Array(bits.buffer);
      // A driver may round the scale to f16 by itself, and NVIDIA's does; no other has an excuse.
      const roundings = format === "fp8" && kind === "dawn" ? 2 : 1.01;
      values.forEach((value, i) => {
        const is = got[i % COLUMNS * OUTPUTS + Math.floor(i / COLUMNS)];
        const bound = Math.abs(value) * 2 ** -11 * roundings + 2 ** -25 * 1.5;
        assert(Math.abs(is - value) <= bound, `${format}: ${value} became ${is}`);
      });
    });
  }

  itOnUnits(kind)("become the largest that f16 can hold, and no infinity, by scales that no model has", async () => {
    for (const format of ["fp8", "q8", "q4"] as const) {
      const task = makeTask(new Random(), { layout: matrixLayout(format, 64, 32), outputs: 8, rows: 2, select: { kind: "all" } });
      new Float32Array(task.weights.packed.scales.buffer).fill(1e30);
      task.x.fill(1);
      const bits = await runTask(device, batchUnits, { division: DIVISION, output: "f32", mostItems: 2 }, rounded(task));
      for (const sum of new Float32Array(bits.buffer)) assert(Math.abs(sum) <= 64 * 65504, `${format}: ${sum}`);
    }
  });
});

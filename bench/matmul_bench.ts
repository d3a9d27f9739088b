/**
 * The linear layer of prefill, as large as asked for, in every weight format.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { matmul } from "../kernels/linear/matmul.ts";
import { divideUnits, matmulUnits, tileItemsFor } from "../kernels/linear/matmul_units.ts";
import { roundInput } from "../kernels/linear/round_input.ts";
import { openBenchDevice } from "./support/device.ts";
import { storedLayout, type StoredName } from "./support/stored.ts";
import { fillScales } from "../workers/load/weight_maker.ts";
import { fillRandom } from "./fill.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { printTable } from "./table.ts";

const FORMATS: readonly StoredName[] = ["f16", "bf16", "fp8", "q8", "q4", "int4", "int4-128-zeros"];

/** Runs the bench. */
export async function matmulBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { device: { type: "string", default: "dawn" }, size: { type: "string", default: "4096" } },
  });
  const size = Number(values.size);
  const device = await openBenchDevice(values.device);
  const x = device.createBuffer("x", size * size * 4);
  const rounded = device.createBuffer("rounded", size * size * 2);
  const y = device.createBuffer("y", size * size * 4);
  await fillRandom(device, x, "f32");
  const rounding = (await device.compile(roundInput, { columns: size, inputStride: size, input: "plain" })).bind({ x, y: rounded }, { rows: size });
  const round = () => device.run(rounding, { rows: size });
  const runs = [];
  for (const format of FORMATS) {
    const layout = storedLayout(format, size);
    const config = { layout, outputs: size, inputStride: size, select: { kind: "all" }, plan: null } as const;
    const weights = device.createBuffer("weights", size * layout.rowBytes);
    const scales = device.createBuffer("scales", Math.max(16, size * layout.scaleRowBytes));
    await fillRandom(device, weights, layout.format);
    await fillScales(device, scales, layout);
    const tileItems = tileItemsFor(size, size);
    const division = device.features.matrixUnits ? divideUnits({ ...config, tileItems, output: "f32" }, device.limits.maxWorkgroupBytes) : null;
    const units = division !== null;
    const params = { items: size, first_output: 0, part_outputs: size, first_matrix: 0, matrices: 1 };
    const buffers = { weights, scales, routes: scales, x: units ? rounded : x, y };
    const kernel = units
      ? await device.compile(matmulUnits, { ...config, tileItems, division, input: "rounded", output: "f32" })
      : await device.compile(matmul, { ...config, input: "plain" });
    const bound = kernel.bind(buffers, params);
    runs.push({ format, units, record: () => device.run(bound, params) });
  }
  device.run(rounding, { rows: size });
  device.submit();
  const stopwatch = await Stopwatch.start(device);
  const rows: (string | number)[][] = [];
  const roundMs = await stopwatch.milliseconds(round);
  for (const { format, units, record } of runs) {
    const ms = await stopwatch.milliseconds(record);
    rows.push([format, units ? "matrix units" : "plain", ms.toFixed(3), (2 * size ** 3 / ms / 1e9).toFixed(1)]);
  }
  console.log(`${device.kind} (${device.description}): ${size} x ${size} x ${size}, sums and results f32\n`);
  printTable([["weights", "", "ms", "TFLOP/s"], ...rows]);
  if (device.features.matrixUnits) {
    console.log(`\nMatrix units take f16; rounding the inputs from f32, once for all layers that share them: ${roundMs.toFixed(3)} ms`);
  }
  await device.close();
}

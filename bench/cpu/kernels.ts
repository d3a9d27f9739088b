/**
 * Linear layers on a `wasm` device by themselves: a matrix that fits the cache, in every storage format, times some rows.
 *
 * @module
 */
import { allocateRows, matrixLayout, packRows, type WeightFormat } from "../../core/model/packing.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { fillRandom } from "../fill.ts";
import { openBenchDevice } from "../support/device.ts";
import { Random } from "../support/random.ts";
import { percentile } from "../table.ts";

/** Outputs and columns. */
const SIZE = 1024;
/** Milliseconds in which V8 compiles what runs often, and in which runs are timed. */
const [WARM_UP, TIMED] = [300, 300];
/** Of all runs, the one that counts: others on the machine only make them slower. */
const QUICK = 0.1;

/** Formats that are timed. */
export const KERNEL_FORMATS: readonly WeightFormat[] = ["f32", "bf16", "f16", "fp8", "q8", "q4"];

/** GOP/s of one thread, two for each multiplication and addition, for so many rows each. */
export async function timeKernels(format: WeightFormat, rows: readonly number[]): Promise<readonly number[]> {
  const device = await openBenchDevice("wasm", { threads: 1 });
  const layout = matrixLayout(format, SIZE, 128);
  const buffer = (name: string, bytes: number) => device.createBuffer(name, Math.max(bytes, 4));
  const { data, scales } = packedWeights(format);
  const weights = buffer("weights", data.byteLength);
  const scaled = buffer("scales", scales.byteLength);
  device.write(weights, 0, data);
  device.write(scaled, 0, scales);
  const speeds: number[] = [];
  for (const items of rows) {
    const itemsAtOnce = items === 1 ? 1 : 4;
    const config = { layout, outputs: SIZE, inputStride: SIZE, input: "plain", select: { kind: "all" }, itemsAtOnce } as const;
    const params = { items, first_output: 0, part_outputs: SIZE, first_matrix: 0, matrices: 1 };
    const x = buffer("x", items * SIZE * 4);
    await fillRandom(device, x, "f32");
    const buffers = { weights, scales: scaled, routes: buffer("routes", 4), x, y: buffer("y", items * SIZE * 4) };
    const bound = (await device.compile(matvec, config)).bind(buffers, params);
    const times: number[] = [];
    const began = performance.now();
    for (let now = began; now < began + WARM_UP + TIMED; now = performance.now()) {
      device.run(bound, params);
      if (now > began + WARM_UP) times.push(performance.now() - now);
    }
    speeds.push(2 * SIZE * SIZE * items / percentile(times, QUICK) / 1e6);
  }
  await device.close();
  return speeds;
}

function packedWeights(format: WeightFormat) {
  const layout = matrixLayout(format, SIZE, 128);
  if (format !== "fp8") return packRows(layout, new Random(1).normals(SIZE * SIZE), SIZE);
  // As real weights are: hardly any so small that they are denormal.
  const packed = allocateRows(layout, SIZE);
  packed.data.forEach((_, i) => packed.data[i] = 0x30 + i % 19);
  new Float32Array(packed.scales.buffer).fill(0.01);
  return packed;
}

/**
 * Exact prefill of one prompt, chunk by chunk, and where the time of the last chunk goes, which attends to all of it. Weights are made up on the device.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { configOf, shapeNamed, SHAPES } from "../core/model/synthetic/shapes.ts";
import { ceilDiv } from "../core/numeric.ts";
import type { Device } from "../kernels/device.ts";
import { mlaPrefillMatrix, prefillFitsMatrixUnits } from "../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillConfig } from "../kernels/mla_prefill/mla_prefill.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import type { Step } from "../workers/context.ts";
import { Model } from "../workers/model.ts";
import { fillRandom } from "./fill.ts";
import { kernelName } from "./roofline/profile.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { TracingDevice } from "./roofline/tracing_device.ts";
import { syntheticWeights } from "./synthetic.ts";
import { median, printTable } from "./table.ts";

/** Positions that are attended to at a time. */
const WINDOW = 512;
const PROMPTS = 5;

/** Runs the bench. */
export async function prefillBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v2-lite" },
      layers: { type: "string" },
      weights: { type: "string", default: "q4" },
      tokens: { type: "string", default: "4096" },
      chunk: { type: "string", default: "512" },
    },
  });
  const shape = shapeNamed(values.shape);
  const layers = values.layers === undefined ? SHAPES[shape].num_hidden_layers : Number(values.layers);
  const [tokens, chunk] = [Number(values.tokens), Number(values.chunk)];
  const { device: plain } = await openDevice(values.device as DeviceChoice, { dawn: Deno.env.get("LATENTMESH_DAWN") });
  const device = new TracingDevice(plain);
  const weights = await syntheticWeights(device, configOf(shape, layers), values.weights as WeightPolicy);
  const model = await Model.create(device, weights, {
    cacheDtype: plain.kind === "cpu" ? "f32" : "f16",
    maxTokens: tokens,
    maxContext: tokens,
    maxSequences: 1,
    limits: { prefillRows: chunk, decodeRows: 1, window: WINDOW, logitRows: 1 },
  });
  console.log(`${plain.kind} (${plain.description}): ${shape}, ${layers} layers, weights ${values.weights}, chunks of ${chunk}\n`);

  const sequence = model.cache.open();
  model.cache.grow(sequence, tokens);
  const chunks = Array.from({ length: ceilDiv(tokens, chunk) }, (_, i) => {
    const start = i * chunk;
    return Array.from({ length: Math.min(chunk, tokens - start) }, (_, k) => ({ token: (start + k) % 1000, position: start + k, sequence }));
  });
  await timePrompt(device, model, chunks);
  const stopwatch = await Stopwatch.start(device);
  await timeKernels(device, stopwatch, () => model.record({ phase: "prefill", rows: chunks.at(-1)! }));
  const { heads, nopeWidth, rope, valueWidth, attentionScale } = weights.spec;
  const config = { heads, nopeWidth, ropeWidth: rope.width, valueWidth, scale: attentionScale };
  await timeAttention(device, stopwatch, config, chunk);
  stopwatch.stop();
  await device.close();
}

/** The whole prompt by the clock, each chunk waited for as a worker does. */
async function timePrompt(device: TracingDevice, model: Model, chunks: readonly Step["rows"][]): Promise<void> {
  const tokens = chunks.flat().length;
  const times: number[] = [];
  for (let prompt = 0; prompt <= PROMPTS; prompt++) {
    const began = performance.now();
    for (const rows of chunks) {
      model.record({ phase: "prefill", rows });
      if (rows === chunks.at(-1)) model.head.recordLogits("prefill", rows.length - 1, 1);
      else {
        device.submit();
        await device.settle();
      }
    }
    await model.head.candidates([{ key: 0, position: tokens - 1, inverseTemperature: 1 }], 1, false);
    // The first prompt is the one that drivers prepare kernels in.
    if (prompt > 0) times.push(performance.now() - began);
    device.take();
  }
  const ms = median(times);
  console.log(`${tokens} tokens to the first answer: ${ms.toFixed(0)} ms by the clock, ${(tokens / ms * 1000).toFixed(0)} tokens/s\n`);
}

/** What `record` records, one kind of kernel at a time. */
async function timeKernels(device: TracingDevice, stopwatch: Stopwatch, record: () => void): Promise<void> {
  device.take();
  record();
  const dispatches = device.take();
  device.submit();
  const kernels: { name: string; runs: number; ms: number }[] = [];
  for (const [name, runs] of Map.groupBy(dispatches, kernelName)) {
    const ms = await stopwatch.milliseconds(() => {
      for (const { bound, params } of runs) device.run(bound, params);
    });
    kernels.push({ name, runs: runs.length, ms });
  }
  device.take();
  const total = kernels.reduce((sum, { ms }) => sum + ms, 0);
  kernels.sort((a, b) => b.ms - a.ms);
  console.log(`the last chunk, its kernels one kind at a time: ${total.toFixed(2)} ms on the device, ${dispatches.length} dispatches\n`);
  printTable([
    ["kernel", "runs", "ms", "% of chunk"],
    ...kernels.map(({ name, runs, ms }) => [name, runs, ms.toFixed(3), (ms / total * 100).toFixed(1)]),
  ]);
}

/** Attention of one chunk to one window, all of which it sees, by each kernel that the device has. */
async function timeAttention(device: Device, stopwatch: Stopwatch, config: MlaPrefillConfig, rows: number): Promise<void> {
  const { heads, nopeWidth, ropeWidth, valueWidth } = config;
  const buffer = async (name: string, floats: number) => {
    const made = device.createBuffer(name, floats * 4);
    await fillRandom(device, made, "f32");
    return made;
  };
  const buffers = {
    q: await buffer("q", rows * heads * (nopeWidth + ropeWidth)),
    keys: await buffer("keys", WINDOW * heads * nopeWidth),
    rope_keys: await buffer("rope keys", WINDOW * ropeWidth),
    values: await buffer("values", WINDOW * heads * valueWidth),
    state: await buffer("state", rows * heads * 2),
    out: await buffer("out", rows * heads * valueWidth),
  };
  const params = { rows, first_position: 2 * WINDOW, window_start: WINDOW, window_count: WINDOW, last: 0 };
  const flop = 2 * rows * WINDOW * heads * (nopeWidth + ropeWidth + valueWidth);
  const fits = device.features.matrixUnits && prefillFitsMatrixUnits(config, device.limits.maxWorkgroupBytes);
  const table: (string | number)[][] = [["attention to one window", "ms", "TFLOP/s"]];
  for (const [name, kernel] of [["plain", mlaPrefill], ...(fits ? [["matrix units", mlaPrefillMatrix] as const] : [])] as const) {
    const bound = (await device.compile(kernel, config)).bind(buffers, params);
    const ms = await stopwatch.milliseconds(() => device.run(bound, params));
    table.push([name, ms.toFixed(3), (flop / ms / 1e9).toFixed(1)]);
  }
  console.log("");
  printTable(table);
}

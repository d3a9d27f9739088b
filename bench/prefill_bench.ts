/**
 * Exact prefill of prompts in chunks of several sizes, where the time of a chunk goes, and its attention in every division that the device's matrix units allow.
 * Weights are made up on the device.
 *
 * @module
 */
import { cacheDtypeOf } from "../core/device_kind.ts";
import { parseArgs } from "node:util";
import { parseModelConfig } from "../core/model/config.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { choosePrefillSizes, type PrefillSizes } from "../core/model/prefill_sizes.ts";
import { configOf, shapeNamed, SHAPES } from "../core/model/synthetic/shapes.ts";
import { ceilDiv } from "../core/numeric.ts";
import type { Params } from "../kernels/authoring/contract.ts";
import type { AbsorbUnitsConfig } from "../kernels/absorb/absorb_units.ts";
import type { BoundKernel, Device } from "../kernels/device/device.ts";
import { freeMemoryIfKnown } from "../kernels/device/free_memory.ts";
import { cacheWidth } from "../kernels/latent_cache/layout.ts";
import type { MatmulConfig } from "../kernels/linear/matmul.ts";
import { mlaPrefillMatrix, PREFILL_DIVISIONS, prefillDivides, type PrefillDivision } from "../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillConfig, type MlaPrefillParams } from "../kernels/mla_prefill/mla_prefill.ts";
import type { SparsePrefillConfig } from "../kernels/sparse_prefill/sparse_prefill.ts";
import { openBenchDevice } from "./support/device.ts";
import type { Step } from "../workers/forward/context.ts";
import { Model } from "../workers/forward/model.ts";
import { MOST_SPLIT } from "../workers/forward/prefill_attention.ts";
import type { ModelWeights } from "../workers/forward/weights.ts";
import { fillLatents, fillRandom } from "./fill.ts";
import { kernelName } from "./roofline/profile.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { type Dispatch, TracingDevice } from "./roofline/tracing_device.ts";
import { syntheticWeights } from "./synthetic.ts";
import { median, printTable } from "./table.ts";

/** Prompts that are timed, of which the median counts; fewer of long ones. */
const PROMPTS = 5;
const LONG_PROMPTS = 2;
const LONG = 16384;
/** Beyond what is computed before a chunk whose kernels are timed. */
const LONGEST_CHUNK = 4096;

/** Runs the bench. */
export async function prefillBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v2-lite" },
      layers: { type: "string" },
      weights: { type: "string", default: "keep" },
      tokens: { type: "string", default: "1024,4096,32768" },
      sizes: { type: "string", default: "512x512,auto" },
      divisions: { type: "string" },
      after: { type: "string" },
      only: { type: "string", default: "prompts,kernels,attention" },
    },
  });
  const only = values.only.split(",");
  const shape = shapeNamed(values.shape);
  const layers = values.layers === undefined ? SHAPES[shape].num_hidden_layers : Number(values.layers);
  const tokens = values.tokens.split(",").map(Number);
  const after = values.after?.split(",").map(Number);
  const most = Math.max(...tokens, ...(after ?? []).map((start) => start + LONGEST_CHUNK));
  const plain = await openBenchDevice(values.device);
  const { kind, limits: { maxBindingBytes } } = plain;
  const spec = parseModelConfig(configOf(shape, layers), shape);
  const chosen = choosePrefillSizes(spec, { kind, maxBindingBytes, freeBytes: await freeMemoryIfKnown("any") }, {}, most);
  const sizes = values.sizes.split(",").map((text) => text === "auto" ? chosen : parseSizes(text, most));
  const device = new TracingDevice(plain);
  const weights = await syntheticWeights(device, configOf(shape, layers), values.weights as WeightPolicy);
  console.log(`${kind} (${plain.description}): ${shape}, ${layers} layers, weights ${values.weights}\n`);

  const results: (string | number)[][] = [];
  const stopwatch = await Stopwatch.start(device);
  for (const size of sizes) {
    const model = await createModel(device, weights, size, most);
    for (const length of only.includes("prompts") ? tokens : []) {
      const ms = await timePrompt(device, model, length);
      results.push([length, `${size.chunk} x ${size.window}`, ms.toFixed(0), (length / ms * 1000).toFixed(0)]);
    }
    if (!only.includes("kernels")) continue;
    for (const start of after ?? [Math.min(size.chunk, most - size.chunk)]) await timeKernels(device, stopwatch, model, size, start);
  }
  const { heads, nopeWidth, rope, valueWidth, attentionScale } = weights.spec;
  const config = { heads, nopeWidth, ropeWidth: rope.width, valueWidth, scale: attentionScale, split: MOST_SPLIT };
  if (only.includes("attention")) {
    const attention = await timeAttention(device, stopwatch, config, sizes, (values.divisions ?? "").split(";").filter(Boolean).map(parseDivision));
    console.log("attention of a chunk to a window: one before it, and its own, of which each query sees what is before it\n");
    printTable(attention);
  }
  stopwatch.stop();
  if (results.length > 0) {
    console.log("\nprompts to their first answer, by the clock\n");
    printTable([["tokens", "chunk x window", "ms", "tokens/s"], ...results]);
  }
  await device.close();
}

function parseSizes(text: string, most: number): PrefillSizes {
  const [chunk, window] = text.split("x").map((size) => Math.min(Number(size), most));
  return { chunk, window, keptWindows: Math.floor((most - 1) / window) };
}

function parseDivision(text: string): PrefillDivision {
  const [rowParts, rowTiles, parts, keys] = text.split(",").map(Number);
  return { rowParts, rowTiles, parts, keys };
}

async function createModel(device: Device, weights: ModelWeights, { chunk, window, keptWindows }: PrefillSizes, most: number): Promise<Model> {
  const model = await Model.create(device, weights, {
    cacheDtype: cacheDtypeOf(device.kind),
    maxTokens: most,
    maxContext: most,
    maxSequences: 1,
    limits: { prefillRows: chunk, decodeRows: 1, window, keptWindows, logitRows: 1 },
  });
  // What was chosen of zeros would be the first tokens for every row.
  for (const [seed, { pages, config }] of model.cache.buffers.entries()) await fillLatents(device, pages, config, seed);
  return model;
}

/** Whole prompts by the clock, each chunk waited for as a worker does. @returns milliseconds */
async function timePrompt(device: TracingDevice, model: Model, tokens: number): Promise<number> {
  const sequence = model.cache.open();
  model.cache.grow(sequence, tokens);
  const { prefillRows } = model.limits;
  const times: number[] = [];
  for (let prompt = 0; prompt <= (tokens > LONG ? LONG_PROMPTS : PROMPTS); prompt++) {
    const began = performance.now();
    for (let start = 0; start < tokens; start += prefillRows) {
      const rows = rowsOf(sequence, start, Math.min(prefillRows, tokens - start));
      model.record({ phase: "prefill", rows });
      if (start + rows.length === tokens) model.head.recordLogits("prefill", rows.length - 1, 1);
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
  model.cache.close(sequence);
  return median(times);
}

function rowsOf(sequence: Step["rows"][number]["sequence"], start: number, count: number): Step["rows"] {
  return Array.from({ length: count }, (_, i) => ({ token: (start + i) % 1000, position: start + i, sequence }));
}

/** A chunk of a prompt, one kind of kernel at a time. @param start where it begins */
async function timeKernels(device: TracingDevice, stopwatch: Stopwatch, model: Model, { chunk, window }: PrefillSizes, start: number): Promise<void> {
  const sequence = model.cache.open();
  model.cache.grow(sequence, start + chunk);
  device.take();
  model.record({ phase: "prefill", rows: rowsOf(sequence, start, chunk) });
  const dispatches = device.take();
  device.submit();
  const kernels: { name: string; runs: number; ms: number; flop: number }[] = [];
  for (const [name, runs] of Map.groupBy(dispatches, kernelName)) {
    const ms = await stopwatch.milliseconds(() => {
      for (const { bound, params } of runs) device.run(bound, params);
    });
    kernels.push({ name, runs: runs.length, ms, flop: runs.reduce((sum, dispatch) => sum + flopOf(dispatch), 0) });
  }
  device.take();
  model.cache.close(sequence);
  const total = kernels.reduce((sum, { ms }) => sum + ms, 0);
  kernels.sort((a, b) => b.ms - a.ms);
  console.log(
    `a chunk of ${chunk} after ${start}, windows of ${window}, its kernels one kind at a time: ${
      total.toFixed(2)
    } ms on the device, ${dispatches.length} dispatches\n`,
  );
  printTable([
    ["kernel", "runs", "ms", "% of chunk", "TFLOP/s"],
    ...kernels.map((
      { name, runs, ms, flop },
    ) => [name, runs, ms.toFixed(3), (ms / total * 100).toFixed(1), flop === 0 ? "" : (flop / ms / 1e9).toFixed(0)]),
  ]);
  console.log("");
}

/** Operations of products, a multiply-add being two. */
function flopOf({ kernel, config, params }: Dispatch): number {
  if (kernel.name === "mla_prefill" || kernel.name === "prefill_chosen") {
    return attentionFlop(config as MlaPrefillConfig, params as Params<MlaPrefillParams>);
  }
  if (kernel.name === "sparse_prefill") {
    // Of rows that see as many tokens as they may attend to.
    const { heads, topTokens, cache, valueWidth } = config as SparsePrefillConfig;
    return 2 * params.rows * heads * topTokens * (cacheWidth(cache) + valueWidth);
  }
  if (kernel.name === "absorb_units") {
    const { heads, nopeWidth, queries } = config as AbsorbUnitsConfig;
    return 2 * params.rows * heads * nopeWidth * queries.keyWidth;
  }
  if (!kernel.name.startsWith("matmul") && kernel.name !== "heads_units") return 0;
  const { layout, outputs, select } = config as MatmulConfig;
  return 2 * params.items * (select.kind === "all" ? params.part_outputs : outputs) * layout.columns;
}

/** Of the pairs of queries and keys that see each other. */
function attentionFlop({ heads, nopeWidth, ropeWidth, valueWidth }: MlaPrefillConfig, params: Params<MlaPrefillParams>): number {
  let pairs = 0;
  for (let row = 0; row < params.rows; row++) {
    pairs += Math.max(0, Math.min(params.end - params.first, params.first_position + row + 1 - params.start));
  }
  return 2 * pairs * heads * (nopeWidth + ropeWidth + valueWidth);
}

/** Attention of one chunk to one window by each kernel that the device has: a row of the table for each. */
async function timeAttention(
  device: Device,
  stopwatch: Stopwatch,
  config: MlaPrefillConfig,
  sizes: readonly PrefillSizes[],
  tried: readonly PrefillDivision[],
): Promise<(string | number)[][]> {
  const { heads, nopeWidth, ropeWidth, valueWidth } = config;
  const rows = Math.max(...sizes.map(({ chunk }) => chunk));
  const keys = Math.max(...sizes.map(({ window }) => window));
  const splits = ceilDiv(keys, config.split);
  const buffer = async (name: string, floats: number, bits: "f32" | "f16" = "f32") => {
    const made = device.createBuffer(name, floats * (bits === "f32" ? 4 : 2));
    await fillRandom(device, made, bits);
    return made;
  };
  const common = {
    q: await buffer("q", rows * heads * (nopeWidth + ropeWidth)),
    state: await buffer("state", splits * rows * heads * 2),
    out: await buffer("out", splits * rows * heads * valueWidth),
  };
  const expanded = async (bits: "f32" | "f16") => ({
    ...common,
    keys: await buffer("keys", keys * heads * nopeWidth, bits),
    rope_keys: await buffer("rope keys", keys * ropeWidth, bits),
    values: await buffer("values", keys * heads * valueWidth, bits),
  });
  const most = { rows, first_position: keys, first: 0, end: keys, start: keys, split_rows: splits * rows };
  const fits = (division: PrefillDivision) => device.features.matrixUnits && prefillDivides(config, division, device.limits.maxWorkgroupBytes);
  const kernels: [name: string, bound: BoundKernel<MlaPrefillParams>][] = [
    ["plain", (await device.compile(mlaPrefill, config)).bind(await expanded("f32"), most)],
  ];
  const halves = await expanded("f16");
  for (const division of (tried.length > 0 ? tried : PREFILL_DIVISIONS).filter(fits)) {
    const kernel = await device.compile(mlaPrefillMatrix, { ...config, division });
    kernels.push([Object.values(division).join(", "), kernel.bind(halves, most)]);
  }
  const table: (string | number)[][] = [[
    "division",
    ...sizes.flatMap(({ chunk, window }) => [`${chunk} x ${window}, ms`, "TFLOP/s", "its own, ms", "TFLOP/s"]),
  ]];
  for (const [name, bound] of kernels) {
    const line: (string | number)[] = [name];
    for (const { chunk, window } of sizes) {
      const to = (position: number, end: number) => (
        { rows: chunk, first_position: position, first: 0, end, start: 0, split_rows: ceilDiv(end, config.split) * chunk }
      );
      const [before, own] = [to(window, window), to(0, Math.min(chunk, window))];
      for (const params of [before, own]) {
        const ms = await stopwatch.milliseconds(() => device.run(bound, params), ceilDiv(TOGETHER, chunk * window));
        line.push(ms.toFixed(3), (attentionFlop(config, params) / ms / 1e9).toFixed(0));
      }
    }
    table.push(line);
  }
  return table;
}

/** Pairs of a query and a key that are timed together at the least, so that the start of a pass does not count. */
const TOGETHER = 2 ** 22;

/**
 * What sparse attention does before it attends, on one device: scores of all tokens, the choice among them, and the copy of what is chosen. What attending to it takes,
 * `attention` tells, with as many tokens of context as are chosen.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { cacheDtypeOf, isHost } from "../core/device_kind.ts";
import { INDEX_DTYPES, type IndexDtype, indexDtypeFor } from "../core/cache/cache_dtype.ts";
import { BLOCK_TOKENS } from "../core/cache/blocks.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { configOf, type ShapeName, shapeNamed } from "../core/model/synthetic/shapes.ts";
import type { IndexerSpec, ModelSpec } from "../core/model/spec.ts";
import { roundUp } from "../core/numeric.ts";
import { chooseTokens, choosingOn } from "../kernels/choose_tokens/choose_tokens.ts";
import type { BoundKernel, Device } from "../kernels/device/device.ts";
import { gatherTokens } from "../kernels/gather_tokens/gather_tokens.ts";
import { indexKeyConfig } from "../kernels/index_keys/index_keys.ts";
import { indexScores } from "../kernels/index_scores/index_scores.ts";
import { indexScoresMatrix, scoresOnUnits } from "../kernels/index_scores/matrix_units.ts";
import { type CacheConfig, cacheTokenBytes } from "../kernels/latent_cache/layout.ts";
import { fillLatents, fillRandom } from "./fill.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { keeper } from "./source.ts";
import { Random } from "./support/random.ts";
import { openBenchDevice } from "./support/device.ts";
import { printTable } from "./table.ts";

/** Layers whose latents are copied in turn: what one of them left in the device's caches is no longer there. */
const LAYERS = 4;

/** One kernel at one length of context. */
export interface IndexerTime {
  readonly context: number;
  readonly kernel: string;
  readonly ms: number;
  /** That it must read at the least. */
  readonly gigabytesPerSecond: number;
  readonly teraflops: number;
}

/** Runs the bench. */
export async function indexerBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v3.2" },
      batch: { type: "string", default: "16" },
      context: { type: "string", default: "4096,32768,131072" },
      "index-cache": { type: "string" },
      json: { type: "string" },
      card: { type: "string" },
    },
  });
  const keep = keeper("indexer", args, values);
  const shape = shapeNamed(values.shape);
  const rows = Number(values.batch);
  const indexDtype = INDEX_DTYPES.find((dtype) => dtype === values["index-cache"]);
  if (indexDtype !== values["index-cache"]) throw new Error(`--index-cache is none of ${INDEX_DTYPES.join(", ")}`);
  const times: IndexerTime[] = [];
  let [bytesPerSecond, title] = [0, ""];
  for (const context of values.context.split(",").map(Number)) {
    const device = await openBenchDevice(values.device);
    const stopwatch = await Stopwatch.start(device);
    times.push(...await timeContext(device, stopwatch, indexed(shape), { rows, context, indexDtype }));
    bytesPerSecond = Math.max(bytesPerSecond, stopwatch.bytesPerSecond);
    title = `${device.kind} (${device.description})`;
    await device.close();
  }
  console.log(`${title}: reads ${(bytesPerSecond / 1e9).toFixed(0)} GB/s\n${shape}, batch ${rows}\n`);
  printTable([
    ["context", "kernel", "ms", "GB/s", "% of reads", "TFLOP/s"],
    ...times.map(({ context, kernel, ms, gigabytesPerSecond, teraflops }) => [
      context,
      kernel,
      ms.toFixed(4),
      gigabytesPerSecond.toFixed(1),
      (gigabytesPerSecond * 1e11 / bytesPerSecond).toFixed(0),
      teraflops.toFixed(3),
    ]),
  ]);
  await keep({ device: title, shape, batch: rows, bytesPerSecond, times });
}

/** @throws {Error} of a shape that attends to all tokens */
function indexed(shape: ShapeName): ModelSpec & { readonly indexer: IndexerSpec } {
  const spec = parseModelConfig(configOf(shape), shape);
  if (spec.indexer === null) throw new Error(`${shape} attends to all tokens: nothing chooses among them`);
  return { ...spec, indexer: spec.indexer };
}

async function timeContext(
  device: Device,
  stopwatch: Stopwatch,
  { indexer: { heads, width, topTokens }, latentWidth, rope }: ModelSpec & { readonly indexer: IndexerSpec },
  { rows, context, indexDtype }: Readonly<Record<"rows" | "context", number>> & { readonly indexDtype?: IndexDtype },
): Promise<IndexerTime[]> {
  const dtype = cacheDtypeOf(device.kind);
  const keys = indexKeyConfig(width, indexDtypeFor(dtype, indexDtype));
  const latents: CacheConfig = { dtype, keyWidth: latentWidth, ropeWidth: rope.width };
  const positions = roundUp(context, BLOCK_TOKENS);
  const [slots, tableWords] = [rows * positions, rows * positions / BLOCK_TOKENS];
  const stride = roundUp(Math.min(topTokens, context), BLOCK_TOKENS);
  const words = (label: string, values: Uint32Array<ArrayBuffer>) => {
    const buffer = device.createBuffer(label, values.byteLength);
    device.write(buffer, 0, values);
    return buffer;
  };
  const filled = async (label: string, config: CacheConfig, bytes: number, seed: number) => {
    const buffer = device.createBuffer(label, bytes);
    await fillLatents(device, buffer, config, seed);
    return buffer;
  };
  // Blocks of a sequence lie anywhere: an odd step visits each block once.
  const tables = words("tables", Uint32Array.from({ length: tableWords }, (_, i) => (i * 7919) % tableWords));
  const stepOf = (label: string, tokens: number) =>
    words(label, Uint32Array.from(Array.from({ length: rows }, (_, row) => [0, tokens - 1, 0, row * positions / BLOCK_TOKENS]).flat()));
  const [step, attended] = [stepOf("step", context), stepOf("attended", Math.min(topTokens, context))];
  const [q, weights] = [device.createBuffer("queries", rows * heads * width * 4), device.createBuffer("weights", rows * heads * 4)];
  for (const [seed, buffer] of [q, weights].entries()) await fillRandom(device, buffer, "f32", 1000 + seed);
  const [scores, chosen] = [device.createBuffer("scores", rows * positions * 4), device.createBuffer("chosen", rows * stride * 4)];
  const scoring = { cache: keys, slots, blockTokens: BLOCK_TOKENS, tableWords, heads, positions };
  const units = device.features.matrixUnits && scoresOnUnits(scoring, device.limits.maxWorkgroupBytes);
  const score = (await device.compile(units ? indexScoresMatrix : indexScores, scoring)).bind(
    { q, weights, cache: await filled("index keys", keys, slots * cacheTokenBytes(keys), 1), tables, step, scores },
    { rows, first_row: 0, tokens: context },
  );
  const choose =
    (await device.compile(chooseTokens, { positions, tableWords, topTokens, stride, gives: "slots", workgroup: choosingOn(device.limits) })).bind(
      { scores, tables, step, chosen },
      { rows, first_row: 0 },
    );
  // A cache of as many latents would not fit some devices' bindings; where they lie is as irregular in a smaller one, which no device caches either.
  const latentSlots = Math.min(slots, Math.floor(device.limits.maxBindingBytes / cacheTokenBytes(latents)));
  const gather = await device.compile(gatherTokens, { cache: latents, slots: latentSlots, stride });
  const out = device.createBuffer("out", rows * stride * cacheTokenBytes(latents));
  const gathers: BoundKernel<"rows">[] = [];
  for (let layer = 0; layer < (isHost(device.kind) ? 1 : LAYERS); layer++) {
    const cache = await filled("latents", latents, latentSlots * cacheTokenBytes(latents), 2 + layer);
    gathers.push(
      gather.bind({ cache, chosen: words("chosen slots", randomSlots(layer, rows * stride, latentSlots)), step: attended, out }, { rows }),
    );
  }
  const tokens = rows * context;
  const parts = [
    {
      kernel: units ? "index_scores, on matrix units" : "index_scores",
      bytes: tokens * cacheTokenBytes(keys),
      flop: 2 * tokens * heads * width,
      run: () => device.run(score, { rows, first_row: 0, tokens: context }),
    },
    { kernel: "choose_tokens", bytes: tokens * 4, flop: 0, run: () => device.run(choose, { rows, first_row: 0 }) },
    {
      kernel: "gather_tokens",
      bytes: 2 * rows * Math.min(topTokens, context) * cacheTokenBytes(latents),
      flop: 0,
      together: gathers.length,
      run: () => gathers.forEach((gather) => device.run(gather, { rows })),
    },
  ];
  const times: IndexerTime[] = [];
  for (const { kernel, bytes, flop, run, together = 1 } of parts) {
    const ms = await stopwatch.milliseconds(run) / together;
    times.push({ context, kernel, ms, gigabytesPerSecond: bytes / ms / 1e6, teraflops: flop / ms / 1e9 });
  }
  return times;
}

/** Distinct slots by chance. Those of a row ascend, as what is chosen does, but blocks lie anywhere. */
function randomSlots(seed: number, count: number, slots: number): Uint32Array<ArrayBuffer> {
  const random = new Random(seed);
  const blocks = Math.floor(slots / BLOCK_TOKENS);
  const step = Math.floor(slots / count);
  return Uint32Array.from({ length: count }, (_, i) => {
    const position = i * step + random.below(step);
    return (Math.floor(position / BLOCK_TOKENS) * 7919 % blocks) * BLOCK_TOKENS + position % BLOCK_TOKENS;
  });
}

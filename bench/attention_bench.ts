/**
 * Decode attention alone, on one device, as each rank of a group runs it: what a slice of the latent saves against heads split among ranks.
 *
 * @module
 */
import { cacheDtypeOf, isHost } from "../core/device_kind.ts";
import { BLOCK_TOKENS } from "../core/cache/blocks.ts";
import type { CacheDtype } from "../core/cache/cache_dtype.ts";
import { parseArgs } from "node:util";
import { parseModelConfig } from "../core/model/config.ts";
import { configOf, type ShapeName, shapeNamed } from "../core/model/synthetic/shapes.ts";
import { ceilDiv } from "../core/numeric.ts";
import type { BoundKernel, Device } from "../kernels/device/device.ts";
import { cacheTokenBytes, cacheWidth } from "../kernels/latent_cache/layout.ts";
import { latentDecode, type LatentDecodeConfig, queriesOf } from "../kernels/latent_decode/latent_decode.ts";
import { divideForMatrixUnits, type Division, latentDecodeMatrix, splittingFor } from "../kernels/latent_decode/matrix_units.ts";
import { queriesBytes } from "../kernels/latent_decode/queries.ts";
import { DEFAULT_SPLITTING, partialWidth, splitCount } from "../kernels/latent_decode/splits.ts";
import { cacheDtypeFlag } from "./support/cache_dtype.ts";
import { openBenchDevice } from "./support/device.ts";
import { fillLatents, fillRandom } from "./fill.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { keeper } from "./source.ts";
import { printTable } from "./table.ts";

/** What a rank of some group attends with. */
interface Case {
  readonly name: string;
  readonly ranks: number;
  readonly heads: number;
  readonly keyWidth: number;
  readonly ropeWidth: number;
  readonly valueOffset: number;
  readonly valueWidth: number;
}

/** One row of the result. */
export interface AttentionTime extends Case {
  /** Tokens that each sequence attends to. */
  readonly context: number;
  readonly ms: number;
  readonly division: Division | null;
  readonly gigabytesPerSecond: number;
  readonly teraflops: number;
}

/**
 * Milliseconds of an auto-tuned Triton flash-decode kernel on an H200 that reads 4.45 TB/s, for one of two ranks that split heads, at batch 16 and context
 * 32768 in f16. A slow kernel of ours as baseline would flatter the other. Each of four ranks reads as much, so that it stands for them, too.
 */
const TRITON_MLA_2: Readonly<Partial<Record<ShapeName, number>>> = { "v2-lite": 0.144, "kimi-k2": 0.178, "v3": 0.319 };
const TRITON_BYTES_PER_SECOND = 4.45e12;

/** Bytes that the runs which are timed together read at the least before one reads again what another has read: several times what caches hold. */
const LEAST_BYTES = 2 ** 29;
/** Fewest runs that are timed together: the start of a pass takes some 20 µs, which a kernel amid a step does not see. */
const TOGETHER = 32;

/** Not one of the latents'. */
const QUERIES_SEED = 1000;

/** Made-up latents and queries are spread evenly between -1/64 and 1/64. */
const MADE_UP_VARIANCE = 1 / 64 ** 2 / 3;

/** Runs the bench. `--spread`: the standard deviation of the scores, of which the largest decide whether sums are rescaled. */
export async function attentionBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v2-lite" },
      batch: { type: "string", default: "16" },
      context: { type: "string", default: "32768" },
      "cache-dtype": { type: "string" },
      divisions: { type: "string" },
      only: { type: "string", default: "" },
      spread: { type: "string", default: "2" },
      json: { type: "string" },
      card: { type: "string" },
    },
  });
  const keep = keeper("attention", args, values);
  const shape = shapeNamed(values.shape);
  const batch = Number(values.batch);
  const contexts = values.context.split(",").map(Number);
  const cases = casesOf(shape).filter(({ name }) => values.only === "" || name === values.only);
  if (cases.length === 0) throw new Error(`There is no case "${values.only}"; there are ${casesOf(shape).map(({ name }) => name).join("; ")}`);
  const tried = (values.divisions ?? "").split(";").filter(Boolean).map(parseDivision);
  const dtype = cacheDtypeFlag(values["cache-dtype"]);
  const times: AttentionTime[] = [];
  let [bytesPerSecond, title] = [0, ""];
  for (const shard of cases) {
    // A device of its own, as a rank has: on one that other cases had used before, a case once took a quarter longer.
    const device = await openBenchDevice(values.device);
    const stopwatch = await Stopwatch.start(device);
    for (const context of contexts) {
      times.push(...await timeCase(device, stopwatch, shard, { rows: batch, context, spread: Number(values.spread), dtype }, tried));
    }
    bytesPerSecond = Math.max(bytesPerSecond, stopwatch.bytesPerSecond);
    title = `${device.kind} (${device.description})`;
    await device.close();
  }
  console.log(`${title}: reads ${(bytesPerSecond / 1e9).toFixed(0)} GB/s`);
  for (const context of contexts) {
    console.log(`\n${shape}, batch ${batch}, context ${context}${dtype === undefined ? "" : `, latents in ${dtype}`}\n`);
    const triton = batch === 16 && context === 32768 ? TRITON_MLA_2[shape] : undefined;
    print(times.filter((time) => time.context === context), bytesPerSecond, triton);
  }
  await keep({ device: title, shape, batch, bytesPerSecond, times, dtype });
}

function parseDivision(text: string): Division {
  const [headParts, rowTiles, tokenParts, widthParts, tokens, ahead = 1, inTurn = 0, movesOutside = 0] = text.split(",").map(Number);
  return { headParts, rowTiles, tokenParts, widthParts, tokens, ahead, inTurn: inTurn === 1, movesOutside: movesOutside === 1 };
}

/** Heads split among ranks, and slices with and without the default halo of an eighth of the latent. */
function casesOf(shape: ShapeName): Case[] {
  const { heads, latentWidth: latent, rope: { width: ropeWidth } } = parseModelConfig(configOf(shape), shape);
  const cases: Case[] = [];
  for (const ranks of [2, 4]) {
    cases.push({ name: `mla, ${ranks} ranks`, ranks, heads: ceilDiv(heads, ranks), keyWidth: latent, ropeWidth, valueOffset: 0, valueWidth: latent });
    const valueWidth = latent / ranks;
    for (const halo of [0, latent / 8]) {
      const name = `tpla, g = ${ranks}${halo === 0 ? "" : `, halo ${halo}`}`;
      cases.push({ name, ranks, heads, keyWidth: valueWidth + halo, ropeWidth, valueOffset: halo, valueWidth });
    }
  }
  return cases;
}

/** How many sets of sequences there are, of so many bytes, and how many runs over them in turn are timed together. */
function repeatsOn({ kind, limits }: Device, setBytes: number): { readonly sets: number; readonly together: number } {
  if (isHost(kind)) return { sets: 1, together: 1 };
  const fit = Math.max(1, Math.floor(limits.maxBindingBytes / setBytes));
  const sets = Math.min(ceilDiv(LEAST_BYTES, setBytes), fit);
  return { sets, together: Math.max(sets, TOGETHER) };
}

async function timeCase(
  device: Device,
  stopwatch: Stopwatch,
  shard: Case,
  { rows, context, spread, dtype = cacheDtypeOf(device.kind) }: Readonly<Record<"rows" | "context" | "spread", number>> & {
    readonly dtype?: CacheDtype;
  },
  tried: readonly Division[],
): Promise<AttentionTime[]> {
  const blocksPerRow = ceilDiv(context, BLOCK_TOKENS);
  const layout = { dtype, keyWidth: shard.keyWidth, ropeWidth: shard.ropeWidth };
  const { sets, together } = repeatsOn(device, rows * blocksPerRow * BLOCK_TOKENS * cacheTokenBytes(layout));
  const shape = {
    cache: layout,
    slots: sets * rows * blocksPerRow * BLOCK_TOKENS,
    tableWords: sets * rows * blocksPerRow,
    heads: shard.heads,
    valueOffset: shard.valueOffset,
    valueWidth: shard.valueWidth,
    scale: spread / (Math.sqrt(shard.keyWidth + shard.ropeWidth) * MADE_UP_VARIANCE),
  };
  const chosen = device.features.matrixUnits ? divideForMatrixUnits(shape, device.limits.maxWorkgroupBytes) : null;
  const cache = device.createBuffer("cache", shape.slots * cacheTokenBytes(shape.cache));
  // Blocks of a sequence lie anywhere: an odd step visits each block once.
  const table = Uint32Array.from({ length: shape.tableWords }, (_, i) => (i * 7919) % shape.tableWords);
  const tables = device.createBuffer("tables", table.byteLength);
  device.write(tables, 0, table);
  const steps = Array.from({ length: sets }, (_, set) => {
    const words = Uint32Array.from(Array.from({ length: rows }, (_, row) => [0, context - 1, 0, (set * rows + row) * blocksPerRow]).flat());
    const step = device.createBuffer("step", words.byteLength);
    device.write(step, 0, words);
    return step;
  });
  const queriesLayout = queriesOf(shape, chosen === null ? "f32" : "f16");
  const queries = device.createBuffer("queries", queriesBytes(queriesLayout, rows * shard.heads));
  await fillLatents(device, cache, layout);
  // A query that is a latent of its own sequence attends to nothing else.
  await fillRandom(device, queries, queriesLayout.dtype, QUERIES_SEED);
  const results: AttentionTime[] = [];
  for (const division of tried.length > 0 ? tried : [chosen]) {
    const config: LatentDecodeConfig = { ...shape, ...(division === null ? DEFAULT_SPLITTING : splittingFor(shape, division, rows, context)) };
    const { mostSplits } = config;
    const partial = device.createBuffer("partial", rows * shard.heads * mostSplits * partialWidth(config.valueWidth) * 4);
    let bound: BoundKernel<"rows" | "splits">[];
    try {
      const kernel = division === null
        ? await device.compile(latentDecode, { ...config, subgroups: device.features.subgroups, workgroupLimit: device.limits.maxWorkgroupBytes })
        : await device.compile(latentDecodeMatrix, { ...config, division });
      bound = steps.map((step) => kernel.bind({ queries, cache, tables, step, partial }, { rows, splits: mostSplits }));
    } catch (error) {
      console.log(`${shard.name} ${JSON.stringify(division)}: ${(error as Error).message.slice(0, 200)}`);
      continue;
    }
    const params = { rows, splits: splitCount(context, config) };
    const ms = await stopwatch.milliseconds((run) => device.run(bound[run % sets], params), together);
    const bytes = rows * context * cacheTokenBytes(shape.cache);
    const flop = 2 * rows * context * shard.heads * (cacheWidth(config.cache) + shard.valueWidth);
    results.push({ ...shard, context, ms, division, gigabytesPerSecond: bytes / ms / 1e6, teraflops: flop / ms / 1e9 });
  }
  return results;
}

function print(times: readonly AttentionTime[], bytesPerSecond: number, triton: number | undefined): void {
  const scaled = triton === undefined ? Infinity : triton * TRITON_BYTES_PER_SECOND / bytesPerSecond;
  const baseline = (ranks: number) =>
    Math.min(scaled, ...times.filter(({ name, ranks: of }) => name.startsWith("mla") && of === ranks).map(({ ms }) => ms));
  printTable([
    ["", "heads x width", "ms", "GB/s", "% of reads", "TFLOP/s", "x mla", "division"],
    ...times.map((time) => [
      time.name,
      `${time.heads} x ${time.keyWidth + time.ropeWidth}`,
      time.ms.toFixed(4),
      time.gigabytesPerSecond.toFixed(0),
      (time.gigabytesPerSecond * 1e11 / bytesPerSecond).toFixed(0),
      time.teraflops.toFixed(0),
      Number.isFinite(baseline(time.ranks)) ? (baseline(time.ranks) / time.ms).toFixed(2) : "",
      time.division === null ? "plain" : Object.values(time.division).join(", "),
    ]),
  ]);
  if (triton !== undefined) console.log(`\nmla: the faster of ours and Triton's, ${scaled.toFixed(3)} ms on a device that reads this fast`);
}

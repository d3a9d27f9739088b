/**
 * A machine without a GPU: the embedded model and a random one of V2-Lite's sizes on device `wasm`, and, where it is installed, llama.cpp with the same weights beside
 * it in the same run.
 *
 * @module
 */
import type { ModelFiles } from "../core/model/checkpoint.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { configOf } from "../core/model/synthetic/shapes.ts";
import { SyntheticFiles } from "../core/model/synthetic/synthetic_files.ts";
import { DirectoryFiles, openModelFiles } from "../workers/load/model_files.ts";
import { ggufFile, llamaModule, runLlama } from "./cpu/llama.ts";
import type { GgufTensorType } from "../core/model/gguf/tensor_types.ts";
import type { LlamaResult } from "./cpu/llama_child.ts";
import { KERNEL_FORMATS, timeKernels } from "./cpu/kernels.ts";
import { parseCpuOptions } from "./cpu/options.ts";
import { OurModel, perSecond } from "./cpu/our_model.ts";
import { timeEngine, timeServe, timeStreams } from "./cpu/served.ts";
import { median, printTable } from "./table.ts";

const TINY = new URL("../models/tiny-mla", import.meta.url).pathname;
const GOLDEN = new URL("../tests/golden/tiny-mla/golden.json", import.meta.url);
const [CONTEXT, STEPS, RUNS] = [128, 96, 5];
/** Types of GGUF files that are published most. */
const GGUF_TYPES = ["Q4_0", "Q4_K", "Q8_0"] as const;
/** Sequences at once, and steps of them with a large model. */
const [BATCHES, LARGE_STEPS] = [[1, 4, 16], 12];
/** Starts of `serve`. */
const STARTS = 3;

/** Runs the bench. */
export async function cpuBench(args: readonly string[]): Promise<void> {
  const { only, directory: kept, experts, sizes } = parseCpuOptions(args);
  const module = llamaModule();
  if (module === null) {
    console.log("Without llama.cpp beside it: npm install --prefix DIR --ignore-scripts node-llama-cpp@3.22.1, and then BENCH_LLAMA=DIR\n");
  }
  const directory = kept ?? await Deno.makeTempDir({ prefix: "latentmesh-gguf-" });
  const side = new Beside(module, directory);
  using tiny = new DirectoryFiles(TINY);
  if (only.has("kernels")) await benchKernels();
  if (only.has("tiny")) await benchTiny(tiny, side);
  if (only.has("threads")) await benchThreads(tiny);
  if (only.has("large")) await benchLarge(experts, side);
  if (only.has("gguf")) await benchGguf(experts, side);
  if (only.has("serve")) await benchServe();
  if (only.has("many")) {
    if (sizes === "v2-lite") await benchManyOf(largeModel(experts), { weights: "q4", steps: LARGE_STEPS });
    else await benchMany(tiny);
  }
  if (kept === undefined) await Deno.remove(directory, { recursive: true });
}

/** llama.cpp, if it is there. */
class Beside {
  readonly #module: string | null;
  readonly #directory: string;

  constructor(module: string | null, directory: string) {
    this.#module = module;
    this.#directory = directory;
  }

  /** The model as a GGUF file. */
  file(name: string, files: ModelFiles, weights: GgufTensorType): Promise<string> {
    return ggufFile(this.#directory, name, files, weights);
  }

  async run(
    name: string,
    files: ModelFiles,
    weights: GgufTensorType,
    how: {
      readonly threads: number;
      readonly lengths: readonly number[];
      readonly greedy?: { readonly prompt: readonly number[]; readonly tokens: number };
    },
  ): Promise<LlamaResult | null> {
    if (this.#module === null) return null;
    const file = await this.file(name, files, weights);
    const { threads, lengths, greedy = null } = how;
    return await runLlama({
      module: this.#module,
      file,
      threads,
      decode: { context: CONTEXT, steps: STEPS },
      prefill: { lengths, runs: RUNS },
      greedy,
    });
  }
}

async function benchKernels(): Promise<void> {
  const rows = [1, 2, 4, 8, 16, 64];
  const table = [["GOP/s of one thread, 1024 x 1024", ...rows.map((count) => `${count} rows`)]];
  for (const format of KERNEL_FORMATS) table.push([format, ...(await timeKernels(format, rows)).map((speed) => speed.toFixed(0))]);
  printTable(table);
  console.log();
}

async function benchTiny(files: ModelFiles, side: Beside): Promise<void> {
  const rows: string[][] = [["embedded model, one thread, tokens/s", "ours", "spread", "llama.cpp", "spread", "ours to it"]];
  const [prompt, expected] = await goldenGeneration();
  for (const [weights, type] of [["keep", "F16"], ["q8", "Q8_0"], ["q4", "Q4_0"]] as const) {
    const greedy = { prompt, tokens: expected.length };
    const theirs = await side.run("tiny-mla", files, type, { threads: 1, lengths: [128, 1024], greedy });
    const model = await OurModel.load(files, { weights, threads: 1, context: 1100 });
    if (weights === "keep") {
      const ours = await model.generate(prompt, expected.length);
      console.log(
        `greedy tokens as transformers has them: ours ${agreed(ours, expected)}${
          theirs === null ? "" : `, llama.cpp's ${agreed(theirs.greedy, expected)}`
        } of ${expected.length}`,
      );
    }
    rows.push(rowOf(`decode at ${CONTEXT}, ${weights} | ${type}`, 1, await model.timeSteps(CONTEXT, 1, STEPS), theirs?.steps));
    for (const [i, length] of [128, 1024].entries()) {
      rows.push(rowOf(`prefill of ${length}, ${weights} | ${type}`, length, await model.timePrompt(length, RUNS), theirs?.prompts[i]));
    }
    await model.close();
  }
  printTable(rows);
  console.log();
}

async function benchThreads(files: ModelFiles): Promise<void> {
  const speeds: number[] = [];
  for (const threads of [1, 2]) {
    const model = await OurModel.load(files, { weights: "keep", threads, context: 1100 });
    speeds.push(perSecond(1024, await model.timePrompt(1024, RUNS)));
    await model.close();
  }
  console.log(
    `prefill of 1024, two threads against one: ${(speeds[1] / speeds[0]).toFixed(2)} x (${
      speeds.map((speed) => speed.toFixed(0)).join(", ")
    } tokens/s)\n`,
  );
}

async function benchLarge(experts: number, side: Beside): Promise<void> {
  const files = largeModel(experts);
  const [weights, type]: [WeightPolicy, GgufTensorType] = ["q4", "Q4_0"];
  const theirs = await side.run(files.name, files, type, { threads: 2, lengths: [128] });
  const model = await OurModel.load(files, { weights, threads: 2, context: 320 });
  const rows = [
    [`V2-Lite's sizes, ${experts} experts, two threads, tokens/s`, "ours", "spread", "llama.cpp", "spread", "ours to it"],
    rowOf(`decode at ${CONTEXT}, ${weights} | ${type}`, 1, await model.timeSteps(CONTEXT, 1, STEPS), theirs?.steps),
    rowOf(`prefill of 128, ${weights} | ${type}`, 128, await model.timePrompt(128, RUNS), theirs?.prompts[0]),
  ];
  await model.close();
  printTable(rows);
  console.log();
}

/** A model of V2-Lite's sizes, but for how many experts there are. */
function largeModel(experts: number): SyntheticFiles {
  const config = JSON.stringify({ ...JSON.parse(configOf("v2-lite")), n_routed_experts: experts, max_position_embeddings: 4096 });
  return new SyntheticFiles(`v2-lite-${experts}-experts`, { config, seed: 1 });
}

/** Files as people have them, each as it is, by both. */
async function benchGguf(experts: number, side: Beside): Promise<void> {
  const files = largeModel(experts);
  const rows = [[`GGUF files of V2-Lite's sizes, ${experts} experts, two threads, tokens/s`, "ours", "spread", "llama.cpp", "spread", "ours to it"]];
  for (const type of GGUF_TYPES) {
    const theirs = await side.run(files.name, files, type, { threads: 2, lengths: [128] });
    using file = openModelFiles(await side.file(files.name, files, type));
    const model = await OurModel.load(file, { weights: "keep", threads: 2, context: 320 });
    rows.push(rowOf(`decode at ${CONTEXT}, ${type}`, 1, await model.timeSteps(CONTEXT, 1, STEPS), theirs?.steps));
    rows.push(rowOf(`prefill of 128, ${type}`, 128, await model.timePrompt(128, RUNS), theirs?.prompts[0]));
    await model.close();
  }
  printTable(rows);
  console.log();
}

async function benchServe(): Promise<void> {
  const rows = [["serve, tokens/s of one stream; seconds from start to first token", "decode", "spread", "start", "spread"]];
  for (const [name, flags] of [["as it chooses", []], ["prefill and two ranks", ["--ranks", "2"]]] as const) {
    const times = await timeServe(STARTS, flags);
    const [decode, first] = [times.map(({ decode }) => decode), times.map(({ firstToken }) => firstToken)];
    const spread = (values: readonly number[], digits: number) => `${Math.min(...values).toFixed(digits)}…${Math.max(...values).toFixed(digits)}`;
    rows.push([name, median(decode).toFixed(0), spread(decode, 0), median(first).toFixed(2), spread(first, 2)]);
  }
  printTable(rows);
  console.log();
}

/** Of both, what this process computes; and the embedded model as it is used. */
async function benchMany(files: ModelFiles): Promise<void> {
  const rows = await manyRows(files, { weights: "keep", steps: STEPS });
  for (const [name, time] of [["engine, all cores", () => timeEngine(TINY, BATCHES)], ["serve, all cores", () => timeStreams(BATCHES)]] as const) {
    const speeds = await time();
    rows.push(manyRow(name, BATCHES.map((batch) => speeds.get(batch)!)));
  }
  printTable(rows);
}

async function benchManyOf(files: ModelFiles, how: { readonly weights: WeightPolicy; readonly steps: number }): Promise<void> {
  printTable(await manyRows(files, how));
}

async function manyRows(files: ModelFiles, { weights, steps }: { readonly weights: WeightPolicy; readonly steps: number }): Promise<string[][]> {
  const rows = [[`sequences at once, ${files.name.split("/").at(-1)}, tokens/s`, ...BATCHES.map(String), "16 against 1"]];
  for (const threads of [1, 2]) {
    const model = await OurModel.load(files, { weights, threads, context: 256, sequences: 16 });
    const speeds: number[] = [];
    for (const batch of BATCHES) speeds.push(perSecond(batch, await model.timeSteps(CONTEXT, batch, steps)));
    rows.push(manyRow(`model alone, ${threads} threads`, speeds));
    await model.close();
  }
  return rows;
}

function manyRow(name: string, speeds: readonly number[]): string[] {
  return [name, ...speeds.map((speed) => speed.toFixed(0)), `${(speeds.at(-1)! / speeds[0]).toFixed(2)} x`];
}

/** @param tokens that every time is for */
function rowOf(name: string, tokens: number, ours: readonly number[], theirs: readonly number[] | undefined): string[] {
  const speed = (times: readonly number[]) => perSecond(tokens, times);
  const spread = (times: readonly number[]) => {
    const sorted = times.toSorted((a, b) => b - a);
    const at = (part: number) => (tokens / sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] * 1000).toFixed(0);
    return `${at(0.1)}…${at(0.9)}`;
  };
  if (theirs === undefined) return [name, speed(ours).toFixed(0), spread(ours), "", "", ""];
  return [name, speed(ours).toFixed(0), spread(ours), speed(theirs).toFixed(0), spread(theirs), (speed(ours) / speed(theirs)).toFixed(2)];
}

/** How many tokens agree before the first that does not. */
function agreed(tokens: readonly number[], expected: readonly number[]): number {
  const differs = expected.findIndex((token, i) => tokens[i] !== token);
  return differs < 0 ? expected.length : differs;
}

async function goldenGeneration(): Promise<[prompt: number[], tokens: number[]]> {
  const { generations } = JSON.parse(await Deno.readTextFile(GOLDEN));
  const [{ prompt_ids, token_ids }] = Object.values(generations) as { prompt_ids: number[]; token_ids: number[] }[];
  return [prompt_ids, token_ids];
}

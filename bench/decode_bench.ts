/**
 * Decode speed of the embedded model at contexts up to 128, beside what a bare float32 matrix-vector loop reaches in the same run.
 *
 * @module
 */
import { cacheDtypeOf } from "../core/device_kind.ts";
import { Checkpoint } from "../core/model/checkpoint.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { openBenchDevice } from "./support/device.ts";
import type { Step } from "../workers/forward/context.ts";
import { loadWeights } from "../workers/load/loader.ts";
import type { CandidatesQuery } from "../workers/forward/logits_head.ts";
import { Model } from "../workers/forward/model.ts";
import { DirectoryFiles } from "../workers/load/model_files.ts";
import { AdjustmentList } from "../workers/forward/adjustment_list.ts";
import { anticipatedStep } from "../workers/roles/anticipated_step.ts";
import { median, printTable } from "./table.ts";

/** Floating-point operations of one token, attention apart: two for each of the 7.5 M weights that run. */
const FLOP_PER_TOKEN = 15e6;
const TOKENS = 120;

/** The best token, but for its position. */
const QUERY = { key: 0, inverseTemperature: 1, plain: 1, adjusted: 0, adjustments: new AdjustmentList(), mask: null, draw: false };

/** Runs the bench. */
export async function decodeBench([choice = "cpu"]: readonly string[]): Promise<void> {
  const device = await openBenchDevice(choice);
  using files = new DirectoryFiles(new URL("../models/tiny-mla", import.meta.url).pathname);
  const spec = parseModelConfig((await files.text("config.json"))!, files.name);
  const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep" });
  const model = await Model.create(device, weights, {
    cacheDtype: cacheDtypeOf(device.kind),
    maxTokens: 256,
    maxContext: 256,
    maxSequences: 1,
    limits: { prefillRows: 8, decodeRows: 1, window: 64, logitRows: 1 },
  });
  const sequence = model.cache.open();
  /** Dispatches recorded up to the end of each layer. */
  const marks: number[] = [];
  const step = async (token: number) => {
    model.cache.grow(sequence, 1);
    const step: Step = { phase: "decode", rows: [{ token, position: sequence.length++, sequence }] };
    model.record(step, (layer) => marks[layer] = device.counters.dispatches);
    const queries = [{ ...QUERY, position: sequence.length }];
    model.head.recordLogits("decode", 0, 1);
    const [{ plain }] = await model.head.answers(queries, () => anticipateNext(model, step, queries));
    return plain!.tokens[0];
  };
  let token = await step(0);
  const before = { ...device.counters };
  const times: number[] = [];
  while (sequence.length < TOKENS) {
    const started = performance.now();
    token = await step(token);
    times.push(performance.now() - started);
  }
  const steps = times.length;
  const perStep = (key: "dispatches" | "submissions" | "awaitedMaps") => (device.counters[key] - before[key]) / steps;
  const bare = bareMatvec();
  const ms = median(times);
  printTable([
    [`embedded model on ${device.description}`, ""],
    ["decode, median step", `${ms.toFixed(2)} ms`],
    ["decode, tokens per second", (1000 / ms).toFixed(1)],
    ["operations reached", `${(FLOP_PER_TOKEN / ms / 1e6).toFixed(2)} GFLOP/s`],
    ["bare float32 matrix-vector loop, one core", `${(bare / 1e9).toFixed(2)} GFLOP/s`],
    ["that loop's time for a token's operations", `${(FLOP_PER_TOKEN / bare * 1000).toFixed(2)} ms`],
    ["submissions per step", perStep("submissions").toFixed(0)],
    ["awaited maps per step", perStep("awaitedMaps").toFixed(0)],
    ["dispatches per step", perStep("dispatches").toFixed(0)],
    ["dispatches per MoE layer", marks.at(-1)! - marks.at(-2)!],
  ]);
  model.cache.close(sequence);
  await device.close();
}

/** FLOP/s of the plainest loop over a matrix that, like the model's active weights, exceeds the second-level cache. */
function bareMatvec(): number {
  const [rows, columns] = [8192, 896];
  const matrix = new Float32Array(rows * columns).fill(0.5);
  const x = new Float32Array(columns).fill(0.25);
  const y = new Float32Array(rows);
  const once = () => {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += matrix[r * columns + c] * x[c];
      y[r] = sum;
    }
  };
  const times = Array.from({ length: 9 }, () => {
    const started = performance.now();
    once();
    return performance.now() - started;
  });
  return 2 * rows * columns / (median(times) / 1000);
}

/** While the device of a model that is alone works on a step: says that the next one follows, of whose rows the same is asked. */
function anticipateNext(model: Model, step: Step, queries: readonly CandidatesQuery[]): void {
  const next = anticipatedStep(step, queries.length, model.cache.maxContext);
  if (next === null) return;
  model.anticipate(() => {
    model.record(next);
    model.head.recordOutline("decode", 0, queries);
  });
}

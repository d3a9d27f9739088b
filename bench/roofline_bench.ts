/**
 * Where a decode step's time goes, against what the device reaches at best: every kernel's time, bytes and operations, for models of real sizes with
 * weights made up on the device.
 *
 * @module
 */
import { cacheDtypeOf } from "../core/device_kind.ts";
import { parseArgs } from "node:util";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { configOf, shapeNamed, SHAPES } from "../core/model/synthetic/shapes.ts";
import { cacheDtypeFlag } from "./support/cache_dtype.ts";
import { openBenchDevice } from "./support/device.ts";
import { Model } from "../workers/forward/model.ts";
import { fillLatents } from "./fill.ts";
import { profileStep, type StepProfile } from "./roofline/profile.ts";
import { TracingDevice } from "./roofline/tracing_device.ts";
import { keeper } from "./source.ts";
import { syntheticWeights } from "./synthetic.ts";
import { printTable } from "./table.ts";

/** What the bench found. */
export interface RooflineResult extends StepProfile {
  readonly device: string;
  readonly shape: string;
  readonly layers: number;
  readonly weights: WeightPolicy;
  readonly batch: number;
  readonly context: number;
}

/** Runs the bench. */
export async function rooflineBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "deno" },
      shape: { type: "string", default: "v2-lite" },
      layers: { type: "string" },
      weights: { type: "string", default: "keep" },
      batch: { type: "string", default: "1" },
      context: { type: "string", default: "1024" },
      "cache-dtype": { type: "string" },
      json: { type: "string" },
      card: { type: "string" },
    },
  });
  const keep = keeper("roofline", args, values);
  const shape = shapeNamed(values.shape);
  const layers = values.layers === undefined ? SHAPES[shape].num_hidden_layers : Number(values.layers);
  const [batch, context] = [Number(values.batch), Number(values.context)];
  const policy = values.weights as WeightPolicy;
  const plain = await openBenchDevice(values.device);
  const device = new TracingDevice(plain);
  const weights = await syntheticWeights(device, configOf(shape, layers), policy);
  const model = await Model.create(device, weights, {
    cacheDtype: cacheDtypeFlag(values["cache-dtype"]) ?? cacheDtypeOf(plain.kind),
    maxTokens: batch * context,
    maxContext: context,
    maxSequences: batch,
    limits: { prefillRows: 1, decodeRows: batch, window: 1, logitRows: batch },
  });
  // Attention over zeros would say little.
  for (const [i, { pages, config }] of model.cache.buffers.entries()) await fillLatents(device, pages, config, i);
  const { moe, indexer } = model.spec;
  const profile = await profileStep(device, model, { rows: batch, context, attended: indexer?.topTokens, experts: moe?.experts ?? 0 });
  const result: RooflineResult = {
    device: `${plain.kind} (${plain.description})`,
    shape,
    layers,
    weights: policy,
    batch,
    context,
    ...profile,
  };
  print(result);
  await keep(result);
  await device.close();
}

function print({ device, shape, layers, weights, batch, context, ceilings, kernels, stepMs, wallMs, dispatches }: RooflineResult): void {
  const { bytesPerSecond, flopPerSecond } = ceilings;
  console.log(`${device}: reads ${(bytesPerSecond / 1e9).toFixed(0)} GB/s, f32 multiply-adds ${(flopPerSecond / 1e12).toFixed(2)} TFLOP/s`);
  console.log(`${shape}, ${layers} layers, weights ${weights}, batch ${batch}, context ${context}\n`);
  printTable([
    ["kernel", "runs", "ms", "% of step", "MB", "GFLOP", "GB/s", "TFLOP/s", "% of ceiling"],
    ...kernels.map(({ name, runs, ms, bytes, flop, ofCeiling }) => [
      name,
      runs,
      ms.toFixed(3),
      (ms / stepMs * 100).toFixed(1),
      (bytes / 1e6).toFixed(1),
      (flop / 1e9).toFixed(2),
      (bytes / ms / 1e6).toFixed(0),
      (flop / ms / 1e9).toFixed(2),
      (ofCeiling * 100).toFixed(1),
    ]),
  ]);
  const linear = kernels.filter(({ name }) => /^(norm_matvec|batch_matvec|batch_units|matvec|absorb)\b/.test(name));
  const [linearMs, linearBytes] = [linear.reduce((sum, { ms }) => sum + ms, 0), linear.reduce((sum, { bytes }) => sum + bytes, 0)];
  const share = linearBytes / linearMs * 1e5 / bytesPerSecond;
  console.log(
    `\nall linear layers ${linearMs.toFixed(3)} ms, ${(linearBytes / linearMs / 1e6).toFixed(0)} GB/s: ${
      share.toFixed(1)
    } % of what the device reads`,
  );
  const alone = kernels.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`step on the device ${stepMs.toFixed(3)} ms (its kernels one kind at a time ${alone.toFixed(3)} ms), ${dispatches} dispatches`);
  console.log(`step with its answer ${wallMs.toFixed(3)} ms by the clock: ${(batch / wallMs * 1000).toFixed(1)} tokens/s`);
}

/**
 * Weights that are made on the device are those that reading gives, for whole models and for every rank's part of them.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Checkpoint, type ModelFiles } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import type { WeightPolicy } from "../../../core/model/matrix_source.ts";
import { type MatrixViews, unpackRow } from "../../../core/model/packing.ts";
import { isMoeLayer } from "../../../core/model/spec.ts";
import { configOf } from "../../../core/model/synthetic/shapes.ts";
import { SyntheticFiles } from "../../../core/model/synthetic/synthetic_files.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { basesFor } from "../../../core/tpla/choose_bases.ts";
import { partition, type PartitionOptions } from "../../../core/tpla/partition.ts";
import type { Device, DeviceBuffer, Readback } from "../../../kernels/device/device.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { LocalGroup } from "../../../workers/local/local_group.ts";
import { Model } from "../../../workers/forward/model.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { type DeviceMatrix, isMoe, type ModelWeights } from "../../../workers/forward/weights.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { runSequence } from "../../support/forward.ts";
import { Random } from "../../../bench/support/random.ts";

const TINY = SyntheticFiles.named("synthetic:tiny");
const TINY_INT4 = SyntheticFiles.named("synthetic:tiny?int4=32");
const SPEC = parseModelConfig(configOf("tiny"), "tiny");

/** The same bytes, of which nobody is told how they are made. */
function stored(files: SyntheticFiles): ModelFiles {
  return { name: files.name, open: (file) => files.open(file), text: (file) => files.text(file) };
}

async function load(device: Device, files: ModelFiles, weights: WeightPolicy, shard?: LoadShard): Promise<ModelWeights> {
  const spec = parseModelConfig((await files.text("config.json"))!, files.name);
  return await loadWeights(device, await Checkpoint.open(files), spec, { weights, shard });
}

/** All matrices by what they are, and the vectors. */
function buffersOf({ embedding, head, finalNorm, layers }: ModelWeights): [string, DeviceBuffer][] {
  const matrices: [string, DeviceMatrix][] = [["embedding", embedding], ["head", head]];
  const buffers: [string, DeviceBuffer][] = [["final norm", finalNorm]];
  layers.forEach(({ attentionNorm, attention: { queryUp, kvDown, keyUp, valueUp, output, basis }, feedForward }, layer) => {
    matrices.push(
      ...Object.entries({ queryUp, kvDown, keyUp, valueUp, output }).map(([name, matrix]): [string, DeviceMatrix] => [`${layer} ${name}`, matrix]),
    );
    buffers.push([`${layer} norm`, attentionNorm], [`${layer} basis`, basis]);
    const mlps = isMoe(feedForward) ? { experts: feedForward.experts, shared: feedForward.shared! } : { dense: feedForward };
    if (isMoe(feedForward)) matrices.push([`${layer} router`, feedForward.router]);
    for (const [name, { gateUp, down }] of Object.entries(mlps)) matrices.push([`${layer} ${name} up`, gateUp], [`${layer} ${name} down`, down]);
  });
  for (const [name, { parts }] of matrices) {
    parts.forEach(({ weights, scales }, i) => buffers.push([`${name} ${i}`, weights], [`${name} scales ${i}`, scales]));
  }
  return buffers;
}

/** @param readback as large as any of them */
async function bytesOf(device: Device, readback: Readback, weights: ModelWeights): Promise<Map<string, Uint8Array>> {
  const bytes = new Map<string, Uint8Array>();
  for (const [name, buffer] of buffersOf(weights)) {
    device.read(readback, buffer, 0, buffer.bytes);
    device.submit();
    bytes.set(name, (await readback.take()).slice());
  }
  return bytes;
}

async function shardsOf(options: PartitionOptions, basis: "identity" | "hadamard" | null): Promise<LoadShard[]> {
  const bases = basis === null ? null : await basesFor(SPEC, { kind: basis, lambda: 0 }, null);
  return partition(SPEC, options).map((shape) => ({ shape, bases }));
}

describeModelsOnDevices("synthetic weights", (kind) => {
  it("are those that are read, bit for bit, whole and in parts", async () => {
    // Bindings so small that matrices are split.
    const device = await openTestDevice(kind, { maxBindingBytes: 16384 });
    const readback = await device.createReadback("weights", 16384);
    const shards: (LoadShard | undefined)[] = [
      undefined,
      ...await shardsOf({ ranks: 3, latentGroups: 1, halo: 0 }, null),
      ...await shardsOf({ ranks: 2, latentGroups: 2, halo: 8 }, "hadamard"),
    ];
    for (const files of [TINY, TINY_INT4]) {
      for (const shard of shards) {
        const [made, read] = [await load(device, files, "keep", shard), await load(device, stored(files), "keep", shard)];
        assertEquals(await bytesOf(device, readback, made), await bytesOf(device, readback, read), `${files.name}, rank ${shard?.shape.rank}`);
        assertEquals(made.bytes, read.bytes);
      }
    }
    await device.close();
  });
});

describe("synthetic weights", () => {
  it("are the same in q8, and the nearest levels in q4", async () => {
    const device = await openTestDevice("cpu");
    const valuesOf = async (weights: WeightPolicy) => {
      const { layers: [{ attention: { queryUp: { layout, outputs, parts: [part] } } }] } = await load(device, TINY, weights);
      // On this device, buffers are memory that can be looked at.
      const [data, scales] = [part.weights, part.scales] as unknown as MatrixViews[];
      const out = new Float32Array(outputs * layout.columns);
      for (let row = 0; row < outputs; row++) unpackRow(layout, data, scales, row, out.subarray(row * layout.columns, (row + 1) * layout.columns));
      return out;
    };
    const exact = await valuesOf("keep");
    assertEquals(await valuesOf("q8"), exact);
    (await valuesOf("q4")).forEach((value, i) => assert(Math.abs(value - exact[i]) <= 2 ** -9, `${value} for ${exact[i]}`));
    await device.close();
  });

  it("give ranks whose sum is the whole model's, with heads split and with the latent cut", async () => {
    const device = await openTestDevice("cpu");
    const sizes = {
      cacheDtype: "f32",
      maxTokens: 256,
      maxContext: 128,
      maxSequences: 1,
      limits: { prefillRows: 32, decodeRows: 4, window: 32, logitRows: 32 },
    } as const;
    const tokens = Array.from({ length: 24 }, (_, i) => 2 + (i * 37) % 500);
    const whole = await Model.create(device, await load(device, TINY, "keep"), sizes);
    const expected = (await runSequence(whole, tokens, "decode", 1)).logits;
    const prefilled = (await runSequence(whole, tokens, "prefill", 32)).logits;
    assert(relativeError(prefilled, expected) < 1e-5);
    for (const [options, basis] of [[{ ranks: 2, latentGroups: 1, halo: 0 }, null], [{ ranks: 2, latentGroups: 2, halo: 32 }, "identity"]] as const) {
      const ranks: Model[] = [];
      for (const shard of await shardsOf(options, basis)) {
        ranks.push(
          await Model.create(device, await load(device, TINY, "keep", shard), { ...sizes, group: { ...ALONE, rank: ranks.length, ranks: 2 } }),
        );
      }
      const group = await LocalGroup.create(ranks);
      const sequence = group.open();
      const logits: number[] = [];
      for (const [position, token] of tokens.entries()) logits.push(...await group.step([{ token, position, sequence }]));
      group.close(sequence);
      const error = relativeError(logits, expected);
      assert(error < 1e-5, `${basis}: ${error}`);
    }
    await device.close();
  });

  it("keep activations finite through many layers, and let rows of a batch use as many experts as chance would", async () => {
    const device = await openTestDevice("cpu");
    const files = SyntheticFiles.named("synthetic:tiny?layers=61");
    const spec = parseModelConfig((await files.text("config.json"))!, files.name);
    const [batch, context] = [4, 32];
    const model = await Model.create(device, await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep" }), {
      cacheDtype: "f32",
      maxTokens: batch * 64,
      maxContext: 64,
      maxSequences: batch,
      limits: { prefillRows: context, decodeRows: batch, window: 32, logitRows: batch },
    });
    const random = new Random(1);
    const token = () => 2 + random.below(spec.vocabSize - 2);
    const sequences = Array.from({ length: batch }, () => {
      const sequence = model.cache.open();
      model.cache.grow(sequence, context);
      model.record({ phase: "prefill", rows: Array.from({ length: context }, (_, position) => ({ token: token(), position, sequence })) });
      device.submit();
      sequence.length += context;
      model.cache.grow(sequence, 1);
      return sequence;
    });
    const { activeExperts: active, experts } = spec.moe!;
    const readback = await device.createReadback("routes", batch * active * 4);
    const used: Promise<number>[] = [];
    model.record({ phase: "decode", rows: sequences.map((sequence) => ({ token: token(), position: context, sequence })) }, (layer, { routes }) => {
      if (!isMoeLayer(spec, layer)) return;
      device.read(readback, routes, 0, batch * active * 4);
      used.push(readback.take().then((bytes) => new Set(new Uint32Array(bytes.slice().buffer)).size));
    });
    model.head.recordLogits("decode", 0, batch);
    const logits = await model.head.logits(batch);
    assert(logits.every(Number.isFinite));
    assert(new Set(logits).size > logits.length / 2);
    const mean = (await Promise.all(used)).reduce((sum, count) => sum + count, 0) / used.length;
    const chance = experts * (1 - (1 - active / experts) ** batch);
    assert(Math.abs(mean / chance - 1) < 0.15, `${mean} where chance would give ${chance}`);
    await device.close();
  });
});

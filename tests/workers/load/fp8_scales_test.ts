/**
 * FP8 checkpoints of all kinds against the same weights unpacked.
 */
import { describe, it } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { Checkpoint, readRange } from "../../../core/model/checkpoint.ts";
import { FP8_E4M3_VALUES } from "../../../core/numeric.ts";
import { MatrixSource, readMatrix } from "../../../core/model/matrix_source.ts";
import type { SafetensorsDtype } from "../../../core/model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { partition } from "../../../core/tpla/partition.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { Model } from "../../../workers/forward/model.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { readGolden, TEST_LIMITS } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { memoryFiles } from "../../support/safetensors.ts";

const bytesOf = (view: Float32Array<ArrayBuffer>) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** The positive values of E4M3, by their bits. */
const POSITIVE = [...FP8_E4M3_VALUES.subarray(0, 0x7f)];

function nearestBits(value: number): number {
  let best = 0;
  POSITIVE.forEach((candidate, bits) => {
    if (Math.abs(candidate - Math.abs(value)) < Math.abs(POSITIVE[best] - Math.abs(value))) best = bits;
  });
  return best | (value < 0 ? 0x80 : 0);
}

/** A matrix quantised, with the scales of its rows or its one, and what that stands for. */
function quantise(name: string, [rows, columns]: readonly [number, number], values: Float32Array, strategy: "channel" | "tensor") {
  const largest = (part: Float32Array) => part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 448;
  const scales = Float32Array.from(
    strategy === "tensor" ? [largest(values)] : Array.from({ length: rows }, (_, r) => largest(values.subarray(r * columns, (r + 1) * columns))),
  );
  const scaleOf = (i: number) => scales[strategy === "tensor" ? 0 : Math.floor(i / columns)];
  const bits = Uint8Array.from(values, (value, i) => nearestBits(value / scaleOf(i)));
  const unpacked = Float32Array.from(bits, (one, i) => FP8_E4M3_VALUES[one] * scaleOf(i));
  const packed: TensorData[] = [
    { name, dtype: "F8_E4M3", shape: [rows, columns], bytes: bits },
    { name: `${name}_scale`, dtype: "F32", shape: strategy === "tensor" ? [] : [rows, 1], bytes: bytesOf(scales) },
  ];
  return { packed, unpacked: { name, dtype: "F32", shape: [rows, columns], bytes: bytesOf(unpacked) } satisfies TensorData };
}

/** deepseek-v2-lite-tiny as llm-compressor would store it in FP8, and the same unpacked. */
async function checkpoints(strategy: "channel" | "tensor") {
  using files = new DirectoryFiles(fixtureDirectory("deepseek-v2-lite-tiny"));
  const stored = await Checkpoint.open(files);
  const [packed, unpacked]: TensorData[][] = [[], []];
  for (const name of stored.names()) {
    const { dtype, shape } = stored.info(name);
    if (/_proj/.test(name)) {
      const sizes = [shape[0], shape[1]] as const;
      const matrix = quantise(name, sizes, await readMatrix(new MatrixSource(stored, name, sizes, { fp8Block: null })), strategy);
      packed.push(...matrix.packed);
      unpacked.push(matrix.unpacked);
    } else {
      const kept = { name, dtype: dtype as SafetensorsDtype, shape, bytes: await readRange(stored.range(name)) };
      packed.push(kept);
      unpacked.push(kept);
    }
  }
  const config = JSON.parse((await files.text("config.json"))!);
  const weights = { num_bits: 8, type: "float", strategy, symmetric: true };
  const quantization_config = { quant_method: "compressed-tensors", format: "float-quantized", config_groups: { group_0: { weights } } };
  return {
    packed: { "config.json": JSON.stringify({ ...config, quantization_config }), "model.safetensors": writeSafetensors(packed) },
    unpacked: { "config.json": JSON.stringify(config), "model.safetensors": writeSafetensors(unpacked) },
  };
}

/** Logits of one rank of two, which holds half of the columns, and of a model that is whole. */
async function logitsOf(device: Device, contents: Record<string, string | Uint8Array<ArrayBuffer>>, tokens: readonly number[], ranks: number) {
  const files = memoryFiles(contents);
  const spec = parseModelConfig((await files.text("config.json"))!, "config.json");
  const shape = partition(spec, { ranks, latentGroups: 1, halo: 0 })[ranks - 1];
  const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard: { shape, bases: null } });
  const model = await Model.create(device, weights, { cacheDtype: "f32", maxTokens: 128, maxContext: 128, maxSequences: 1, limits: TEST_LIMITS });
  return { logits: (await runSequence(model, [...tokens], "prefill", 16)).logits, bytes: weights.bytes };
}

describeModelsOnDevices("FP8 with scales", (kind) => {
  describe("of compressed-tensors", () => {
    for (const strategy of ["channel", "tensor"] as const) {
      for (const ranks of [1, 2]) {
        it(`per ${strategy} are the same weights unpacked, on one rank of ${ranks}`, async () => {
          const { packed, unpacked } = await checkpoints(strategy);
          const tokens = (await readGolden("deepseek-v2-lite-tiny")).inputs[0].slice(0, 40);
          const device = await openTestDevice(kind);
          try {
            const actual = await logitsOf(device, packed, tokens, ranks);
            const expected = await logitsOf(device, unpacked, tokens, ranks);
            const error = relativeError(actual.logits, expected.logits);
            assert(error <= 1e-5, `${error}`);
            assert(actual.bytes < 0.6 * expected.bytes, `${actual.bytes} of ${expected.bytes} bytes: they stay packed`);
          } finally {
            await device.close();
          }
        });
      }
    }
  });
});

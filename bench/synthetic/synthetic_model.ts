/**
 * Models of real sizes without a checkpoint: the loader allocates what it would load, and the device makes up the contents.
 *
 * @module
 */
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import type { WeightFormat } from "../../core/model/packing.ts";
import type { ByteSource } from "../../core/model/safetensors.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { Device, DeviceBuffer } from "../../kernels/device.ts";
import { type LoadOptions, loadWeights } from "../../workers/loader.ts";
import { type DeviceMatrix, isMoe, type ModelWeights } from "../../workers/weights.ts";
import { type Bits, fillWeights } from "./fill_weights.ts";
import { tensorShapes } from "./tensor_shapes.ts";

/** A checkpoint in bfloat16 of which only the header exists. */
class HeaderOnly implements ModelFiles {
  readonly name = "synthetic";
  readonly #source: ByteSource;

  constructor(spec: ModelSpec) {
    let offset = 0;
    const header: Record<string, object> = {};
    for (const [name, shape] of tensorShapes(spec)) {
      const bytes = shape.reduce((a, b) => a * b, 2);
      header[name] = { dtype: "BF16", shape, data_offsets: [offset, offset += bytes] };
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    const begin = new Uint8Array(8 + text.byteLength);
    new DataView(begin.buffer).setBigUint64(0, BigInt(text.byteLength), true);
    begin.set(text, 8);
    this.#source = {
      name: "synthetic/model.safetensors",
      size: begin.byteLength + offset,
      read: (from, length) => Promise.resolve(begin.slice(from, from + length)),
    };
  }

  open(file: string): Promise<ByteSource | null> {
    return Promise.resolve(file === "model.safetensors" ? this.#source : null);
  }

  text(): Promise<string | null> {
    return Promise.resolve(null);
  }
}

/** Random weights for a config.json. @param shard what a rank keeps; everything by default @throws {LatentmeshError} `out_of_memory` */
export async function syntheticWeights(
  device: Device,
  config: string,
  weights: WeightPolicy,
  shard?: LoadOptions["shard"],
): Promise<ModelWeights> {
  const spec = parseModelConfig(config, "synthetic");
  const loaded = await loadWeights(device, await Checkpoint.open(new HeaderOnly(spec)), spec, { weights, shard, dry: true });
  await new Filler(device).fillModel(loaded);
  return loaded;
}

/** Random latents: attention over zeros would say little. @param seed of the first of them */
export async function fillCache(device: Device, layers: readonly DeviceBuffer[], dtype: "f16" | "f32", seed = 1): Promise<void> {
  const filler = new Filler(device, seed);
  for (const layer of layers) await filler.fillBuffer(layer, dtype);
  await device.settle();
}

/** Random words of one kind. */
export async function fillBits(device: Device, buffer: DeviceBuffer, bits: Bits): Promise<void> {
  await new Filler(device).fillBuffer(buffer, bits);
  await device.settle();
}

const WEIGHT_BITS: Readonly<Record<WeightFormat, Bits>> = { f32: "f32", f16: "f16", bf16: "bf16", fp8: "fp8", q8: "levels", q4: "levels" };

class Filler {
  readonly #device: Device;
  readonly #filled = new Set<DeviceBuffer>();
  #seed: number;

  constructor(device: Device, seed = 1) {
    this.#device = device;
    this.#seed = seed;
  }

  async fillModel({ embedding, layers, finalNorm, head }: ModelWeights): Promise<void> {
    await this.#matrices([embedding, head]);
    await this.#ones(finalNorm);
    for (const { attentionNorm, attention, feedForwardNorm, feedForward } of layers) {
      const { queryDown, queryUp, kvDown, basis, keyUp, valueUp, output } = attention;
      await this.#matrices([...(queryDown === null ? [] : [queryDown.matrix]), queryUp, kvDown, keyUp, valueUp, output]);
      for (const norm of [attentionNorm, feedForwardNorm, ...(queryDown === null ? [] : [queryDown.norm])]) await this.#ones(norm);
      await this.#ones(basis);
      const mlps = isMoe(feedForward) ? [feedForward.experts, ...(feedForward.shared === null ? [] : [feedForward.shared])] : [feedForward];
      await this.#matrices([...(isMoe(feedForward) ? [feedForward.router] : []), ...mlps.flatMap(({ gateUp, down }) => [gateUp, down])]);
      // Bind groups of thousands of experts' parts need not live longer than a layer.
      await this.#device.settle();
    }
    await this.#device.settle();
  }

  async #matrices(matrices: readonly DeviceMatrix[]): Promise<void> {
    for (const { layout, parts } of matrices) {
      for (const { weights, scales } of parts) {
        await this.fillBuffer(weights, WEIGHT_BITS[layout.format]);
        if (layout.scaleRowBytes > 0) await this.fillBuffer(scales, layout.format === "fp8" ? "scales f32" : "scales f16");
      }
    }
  }

  async #ones(buffer: DeviceBuffer): Promise<void> {
    await this.fillBuffer(buffer, "ones");
  }

  async fillBuffer(buffer: DeviceBuffer, bits: Bits): Promise<void> {
    if (this.#filled.has(buffer)) return;
    this.#filled.add(buffer);
    const params = { words: Math.floor(buffer.bytes / 4), seed: this.#seed++ };
    this.#device.run((await this.#device.compile(fillWeights, { bits })).bind({ words: buffer }, params), params);
    this.#device.submit();
  }
}

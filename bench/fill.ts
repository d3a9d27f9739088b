/**
 * Fills buffers with random numbers as large as weights: latents, activations, matrices of a bench's own.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../core/cache/blocks.ts";
import type { WeightFormat } from "../core/model/packing.ts";
import type { Device, DeviceBuffer } from "../kernels/device/device.ts";
import { fillWeights } from "../kernels/fill_weights/fill_weights.ts";
import { type CacheConfig, cacheTokenBytes, cacheWidth, writeSlot } from "../kernels/latent_cache/layout.ts";
import { Random } from "./support/random.ts";

/** Weights of a row; how they are divided into rows does not matter. */
const ROW_WORDS = 4096;

/** Bytes that are written to a device at a time. */
const WRITTEN = 2 ** 22;

/** Fills the pages of a cache with latents and rotated keys as large as {@link fillRandom}'s; those in eight bits are the same ones again and again. */
export async function fillLatents(device: Device, buffer: DeviceBuffer, config: CacheConfig, seed = 1): Promise<void> {
  if (config.dtype === "f32" || config.dtype === "f16") return await fillRandom(device, buffer, config.dtype, seed);
  const [tokenBytes, width, random] = [cacheTokenBytes(config), cacheWidth(config), new Random(seed)];
  const slots = Math.ceil(WRITTEN / tokenBytes / BLOCK_TOKENS) * BLOCK_TOKENS;
  const bytes = new ArrayBuffer(slots * tokenBytes);
  const host = {
    f32: new Float32Array(bytes),
    u32: new Uint32Array(bytes),
    u16: new Uint16Array(bytes),
    f16: new Float16Array(bytes),
    u8: new Uint8Array(bytes),
  };
  for (let slot = 0; slot < slots; slot++) writeSlot(config, host, slot, Float64Array.from({ length: width }, () => (random.next() - 0.5) / 32));
  for (let at = 0; at < buffer.bytes; at += bytes.byteLength) {
    device.write(buffer, at, host.u8.subarray(0, Math.min(bytes.byteLength, buffer.bytes - at)));
    device.flush();
  }
  await device.settle();
}

/** Fills all of a buffer. @param seed other seeds give other numbers */
export async function fillRandom(device: Device, buffer: DeviceBuffer, format: WeightFormat, seed = 1): Promise<void> {
  const params = {
    first_word: 0,
    end_word: Math.floor(buffer.bytes / 4),
    row_words: ROW_WORDS,
    // More than a word holds of any format.
    columns: ROW_WORDS * 8,
    first_row: 0,
    first_column: 0,
    key: seed,
  };
  device.run((await device.compile(fillWeights, { format })).bind({ words: buffer }, params), params);
  await device.settle();
}

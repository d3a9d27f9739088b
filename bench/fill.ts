/**
 * Fills buffers with random numbers as large as weights: latents, activations, matrices of a bench's own.
 *
 * @module
 */
import type { WeightFormat } from "../core/model/packing.ts";
import type { Device, DeviceBuffer } from "../kernels/device/device.ts";
import { fillWeights } from "../kernels/fill_weights/fill_weights.ts";

/** Weights of a row; how they are divided into rows does not matter. */
const ROW_WORDS = 4096;

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

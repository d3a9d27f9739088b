/**
 * Makes the weights of synthetic models where they lie on the device, bit for bit those that reading them would give; with q8 and q4, the same rounded. A rank's
 * part is that part of the whole.
 *
 * @module
 */
import type { MatrixSource, Range } from "../../core/model/matrix_source.ts";
import type { MatrixLayout, WeightFormat } from "../../core/model/packing.ts";
import { LEVEL_SIZE, tensorKey } from "../../core/model/synthetic/weights.ts";
import { floatBits, halfBits } from "../../core/numeric.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { type FillParams, fillWeights } from "../../kernels/fill_weights/fill_weights.ts";
import { fillWords } from "../../kernels/fill_weights/fill_words.ts";
import type { MatrixPart } from "../forward/weights.ts";

const MOST_WORD = 0xffffffff;

/** Where the rows of a source are in a matrix. */
export interface RowsToMake {
  /** Rows of a unit of {@link MatrixPart}. */
  readonly unitRows: number;
  /** First row of the matrix. */
  readonly row: number;
  readonly source: MatrixSource;
}

/** Makes one model's weights. */
export class WeightMaker {
  readonly #device: Device;
  readonly #seed: number;
  /** Parts that are being made. */
  readonly #bound = new WeakMap<DeviceBuffer, BoundKernel<FillParams>>();

  constructor(device: Device, seed: number) {
    this.#device = device;
    this.#seed = seed;
  }

  /** Records making the rows of one source. */
  async make(layout: MatrixLayout, parts: readonly MatrixPart[], { unitRows, row, source }: RowsToMake): Promise<void> {
    const key = tensorKey(this.#seed, source.name);
    const rowWords = layout.rowBytes / 4;
    let first = row;
    for (const range of source.rowRanges) {
      for (const part of parts) {
        const begin = part.first * unitRows;
        const rows = overlap({ begin: first, end: first + range.end - range.begin }, { begin, end: begin + part.count * unitRows });
        if (rows === null) continue;
        this.#device.run(await this.#boundOf(layout, part), {
          first_word: (rows.begin - begin) * rowWords,
          end_word: (rows.end - begin) * rowWords,
          row_words: rowWords,
          columns: source.columns,
          first_row: range.begin + rows.begin - first,
          first_column: source.columnBegin,
          key,
        });
      }
      first += range.end - range.begin;
    }
  }

  /** The kernel over a part, whose scales are written with it. */
  async #boundOf(layout: MatrixLayout, { weights, scales }: MatrixPart): Promise<BoundKernel<FillParams>> {
    const { format, scaleRowBytes } = layout;
    const known = this.#bound.get(weights);
    if (known !== undefined) return known;
    const most = { row_words: MOST_WORD, columns: MOST_WORD, first_row: MOST_WORD, first_column: MOST_WORD, key: MOST_WORD };
    const words = Math.floor(weights.bytes / 4);
    const kernel = await this.#device.compile(fillWeights, { format });
    const bound = kernel.bind({ words: weights }, { ...most, first_word: words, end_word: words });
    this.#bound.set(weights, bound);
    if (scaleRowBytes > 0) await fillScales(this.#device, scales, layout);
    return bound;
  }
}

/** Records giving all rows of a matrix the scales that make its levels as large as weights are. */
export async function fillScales(device: Device, scales: DeviceBuffer, layout: Pick<MatrixLayout, "format" | "scaling">): Promise<void> {
  const params = { count: Math.floor(scales.bytes / 4), value: scaleWord(layout) };
  device.run((await device.compile(fillWords, null)).bind({ words: scales }, params), params);
}

/** What scales are: of fp8 one, whose weights are as large without. */
const SCALES: Readonly<Record<WeightFormat, number>> = {
  f32: 0,
  f16: 0,
  bf16: 0,
  fp8: 1,
  q8: LEVEL_SIZE,
  q4: LEVEL_SIZE * 16,
  int4: LEVEL_SIZE * 16,
  int8: LEVEL_SIZE,
};

/** A word of scales. */
function scaleWord({ format, scaling }: Pick<MatrixLayout, "format" | "scaling">): number {
  const value = SCALES[format];
  switch (scaling) {
    case "none":
      return 0;
    case "f32":
      return floatBits(value);
    case "f16":
      return halfBits(value) * 0x10001;
    case "bf16":
      return (floatBits(value) >>> 16) * 0x10001;
    case "f16-zero":
      return halfBits(value) + MIDDLE;
    case "bf16-zero":
      return (floatBits(value) >>> 16) + MIDDLE;
    case "f32-zero":
      throw new TypeError("no made-up weights have such scales");
    default:
      return scaling satisfies never;
  }
}

/** The zero point 8 in the upper half of a word. */
const MIDDLE = 8 << 16;

function overlap(a: Range, b: Range): Range | null {
  const [begin, end] = [Math.max(a.begin, b.begin), Math.min(a.end, b.end)];
  return begin < end ? { begin, end } : null;
}

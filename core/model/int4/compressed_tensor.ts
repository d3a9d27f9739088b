/**
 * `pack-quantized` of compressed-tensors, as Kimi-K2.5 is published: rows of levels, eight in a word, the first in its lowest bits; a scale for each group of a row.
 * Levels are signed there and are stored plus 8, zero points likewise, so that the difference of what is stored is that of what is meant.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../numeric.ts";
import { type FileRange, refuseTensor } from "../checkpoint.ts";
import type { Scaling } from "../packing.ts";
import type { Int4Spec } from "./int4_spec.ts";
import { bitsOf, type Int4Named, type Int4Rows, type Int4Tensor, requireShape, scalingOf, wordsOf } from "./int4_tensor.ts";

/** What follows a matrix's name. */
export const COMPRESSED_SUFFIX = ".weight_packed";

/** One matrix. */
export class CompressedTensor implements Int4Tensor {
  readonly group: number;
  readonly scaling: Scaling;
  readonly byRows = true;
  readonly #named: Int4Named;
  readonly #words: number;
  readonly #groups: number;
  readonly #scaleBytes: number;
  readonly #zeros: boolean;

  /** @throws {LatentmeshError} `invalid_checkpoint` if tensors are missing or do not fit each other */
  constructor(named: Int4Named, { groups, zeros, reordered }: Int4Spec & { readonly kind: "compressed-tensors" }) {
    const { checkpoint, name, rows, columns } = named;
    const [packed, scale, zero] = ["weight_packed", "weight_scale", "weight_zero_point"].map((suffix) => `${name}.${suffix}`);
    if (!reordered && checkpoint.has(`${name}.weight_g_idx`)) {
      refuseTensor(checkpoint, `${name}.weight_g_idx`, "says which columns share a scale, but quantization_config does not (actorder)");
    }
    this.#named = named;
    const words = ceilDiv(columns, 8);
    // There are versions that pack 32 columns at a time.
    this.#words = checkpoint.info(packed).shape[1] === roundUp(words, 4) ? roundUp(words, 4) : words;
    requireShape(checkpoint, packed, [rows, this.#words], ["I32"]);
    const { shape } = checkpoint.info(scale);
    this.#groups = shape[1] ?? 0;
    const fitting = groups.filter((group) => ceilDiv(columns, group ?? columns) === this.#groups);
    // Where the last group is shorter, other sizes may make as many. Quantisers leave none shorter if they can.
    const length = (group: number | null) => Math.min(group ?? columns, columns);
    const group = fitting.find((group) => columns % length(group) === 0) ?? fitting[0];
    if (shape.length !== 2 || shape[0] !== rows || group === undefined) {
      refuseTensor(
        checkpoint,
        scale,
        `has shape [${shape.join(", ")}], which is not one scale for groups of ${sizesOf(groups)} in ${rows} rows of ${columns}`,
      );
    }
    if (columns % length(group) !== 0 && new Set(fitting.map(length)).size > 1) {
      refuseTensor(checkpoint, scale, `has shape [${shape.join(", ")}], which could be for groups of ${sizesOf(fitting)} in rows of ${columns}`);
    }
    this.group = group ?? columns;
    this.#zeros = zeros === "all" || zeros === "some" && checkpoint.has(zero);
    if (zeros === "none" && checkpoint.has(zero)) refuseTensor(checkpoint, zero, "is there, but quantization_config says that weights are symmetric");
    if (this.#zeros) requireShape(checkpoint, zero, [ceilDiv(rows, 8), this.#groups], ["I32"]);
    this.scaling = scalingOf(checkpoint, scale, this.#zeros);
    this.#scaleBytes = this.scaling === "f32" ? 4 : 2;
  }

  ranges(begin: number, end: number): FileRange[] {
    const { checkpoint, name } = this.#named;
    const range = (suffix: string, from: number, to: number, rowBytes: number) =>
      checkpoint.range(`${name}.${suffix}`, from * rowBytes, to * rowBytes);
    return [
      range("weight_packed", begin, end, this.#words * 4),
      range("weight_scale", begin, end, this.#groups * this.#scaleBytes),
      ...(this.#zeros ? [range("weight_zero_point", Math.floor(begin / 8), ceilDiv(end, 8), this.#groups * 4)] : []),
    ];
  }

  rows([packed, stored, zeros]: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number): Int4Rows {
    const scales = Uint32Array.from(bitsOf(stored, this.scaling));
    if (this.#zeros) {
      const words = wordsOf(zeros);
      const first = Math.floor(begin / 8);
      for (let row = begin, at = 0; row < end; row++) {
        const from = (Math.floor(row / 8) - first) * this.#groups;
        for (let g = 0; g < this.#groups; g++, at++) scales[at] |= ((words[from + g] >>> (4 * (row % 8))) & 15) << 16;
      }
    }
    return { words: this.#words, levels: wordsOf(packed), scales };
  }
}

function sizesOf(groups: readonly (number | null)[]): string {
  return groups.map((group) => group ?? "a row").join(" or ");
}

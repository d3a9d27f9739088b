/**
 * Matrices of four bits whose inputs share scales in the order of their activations (`desc_act`, `actorder: group`), not with their neighbours. No device layout has a
 * list of groups, so that they are widened: a weight is (level − zero point) · scale all the same, to the last bit.
 *
 * @module
 */
import { ceilDiv, F16_VALUES } from "../../numeric.ts";
import { type FileRange, refuseTensor } from "../checkpoint.ts";
import { fromBfloat16, type Scaling } from "../packing.ts";
import type { WidenedTensor } from "../widened.ts";
import { type Int4Named, type Int4Tensor, requireShape, wordsOf } from "./int4_tensor.ts";

/** What a symmetric level of 0 is stored as. */
const MIDDLE = 8;

/** One matrix. */
export class Reordered implements WidenedTensor {
  readonly kept = "f32";
  readonly byRows: boolean;
  readonly #named: Int4Named;
  readonly #tensor: Int4Tensor;
  readonly #list: string;

  /** @param list the tensor that says which group each column is in @throws {LatentmeshError} `invalid_checkpoint` if it does not fit */
  constructor(named: Int4Named, tensor: Int4Tensor, list: string) {
    requireShape(named.checkpoint, list, [named.columns], ["I32"]);
    this.byRows = tensor.byRows;
    this.#named = named;
    this.#tensor = tensor;
    this.#list = list;
  }

  ranges(begin: number, end: number): FileRange[] {
    return [...this.#tensor.ranges(begin, end), this.#named.checkpoint.range(this.#list)];
  }

  widen(stored: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number, into: Float32Array<ArrayBuffer>): void {
    const { columns } = this.#named;
    const groups = ceilDiv(columns, this.#tensor.group);
    const order = wordsOf(stored.at(-1)!);
    if (order.some((group) => group >= groups)) refuseTensor(this.#named.checkpoint, this.#list, `names a group that is none of ${groups}`);
    const { words, levels, scales } = this.#tensor.rows(stored.slice(0, -1), begin, end);
    const [factors, zeros] = [new Float32Array(groups), new Float32Array(groups)];
    for (let row = 0; row < end - begin; row++) {
      for (let g = 0; g < groups; g++) {
        const bits = scales[row * groups + g];
        factors[g] = scaleOf(bits, this.#tensor.scaling);
        zeros[g] = this.#tensor.scaling.endsWith("-zero") ? bits >>> 16 : MIDDLE;
      }
      for (let column = 0; column < columns; column++) {
        const level = (levels[row * words + (column >> 3)] >>> (4 * (column & 7))) & 15;
        into[row * columns + column] = (level - zeros[order[column]]) * factors[order[column]];
      }
    }
  }
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

function scaleOf(bits: number, scaling: Scaling): number {
  switch (scaling) {
    case "f16":
    case "f16-zero":
      return F16_VALUES[bits & 0xffff];
    case "bf16":
    case "bf16-zero":
      return fromBfloat16(bits & 0xffff);
    case "f32":
      BITS[0] = bits;
      return FLOAT[0];
    case "none":
    case "f32-zero":
      throw new TypeError(`no weights of four bits in the order of activations have scales of ${scaling}`);
    default:
      return scaling satisfies never;
  }
}

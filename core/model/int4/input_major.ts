/**
 * AWQ and GPTQ, whose tensors have a row for each input: they are turned round while they are loaded. Both have levels 0 … 15 and a zero point for every group.
 *
 * @module
 */
import { ceilDiv } from "../../numeric.ts";
import { type FileRange, refuseTensor } from "../checkpoint.ts";
import type { Scaling } from "../packing.ts";
import type { Int4Spec } from "./int4_spec.ts";
import { bitsOf, type Int4Named, type Int4Rows, type Int4Tensor, requireShape, scalingOf, wordsOf } from "./int4_tensor.ts";

/** What follows a matrix's name. */
export const INPUT_MAJOR_SUFFIX = ".qweight";

/** In which nibble of AWQ's words each of eight outputs is. */
const AWQ_NIBBLES = [0, 4, 1, 5, 2, 6, 3, 7];
/** The same of words whose nibbles are in order. */
const IN_ORDER = [0, 1, 2, 3, 4, 5, 6, 7];

/** One matrix. */
export class InputMajor implements Int4Tensor {
  readonly group: number;
  readonly scaling: Scaling;
  readonly byRows = false;
  readonly #named: Int4Named;
  readonly #spec: Int4Spec & { readonly kind: "awq" | "gptq" };

  /** @throws {LatentmeshError} `invalid_checkpoint` if tensors are missing or do not fit each other */
  constructor(named: Int4Named, spec: Int4Spec & { readonly kind: "awq" | "gptq" }) {
    const { checkpoint, name, rows, columns } = named;
    this.#named = named;
    this.#spec = spec;
    this.group = spec.group ?? columns;
    const groups = ceilDiv(columns, this.group);
    requireShape(checkpoint, `${name}.qweight`, spec.kind === "awq" ? [columns, rows / 8] : [columns / 8, rows], ["I32"]);
    requireShape(checkpoint, `${name}.qzeros`, [groups, rows / 8], ["I32"]);
    requireShape(checkpoint, `${name}.scales`, [groups, rows], ["F16", "BF16"]);
    if (this.#ordered) requireShape(checkpoint, `${name}.g_idx`, [columns], ["I32"]);
    this.scaling = scalingOf(checkpoint, `${name}.scales`, true);
  }

  /** Whether a list says which group each input is in, which can only be that of its neighbours; any other is for `reordered.ts`. */
  get #ordered(): boolean {
    return this.#spec.kind === "gptq" && !this.#spec.reordered && this.#named.checkpoint.has(`${this.#named.name}.g_idx`);
  }

  ranges(): FileRange[] {
    return ["qweight", "scales", "qzeros", ...(this.#ordered ? ["g_idx"] : [])].map((tensor) =>
      this.#named.checkpoint.range(`${this.#named.name}.${tensor}`)
    );
  }

  rows([qweight, stored, qzeros, order]: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number): Int4Rows {
    const { rows, columns } = this.#named;
    if (order !== undefined) this.#requireOrder(wordsOf(order));
    const wanted = { rows, columns, begin, end };
    const levels = (this.#spec.kind === "awq" ? unpackAwq : turn)(wordsOf(qweight), wanted);
    const [bits, zeros] = [bitsOf(stored, this.scaling), wordsOf(qzeros)];
    const nibbles = this.#spec.kind === "awq" ? AWQ_NIBBLES : IN_ORDER;
    // As GPTQModel does it, in all eight at once: what it has written of a zero point of 0 borrows from the next.
    const offset = this.#spec.kind === "gptq" ? this.#spec.zeroOffset * 0x11111111 : 0;
    const groups = ceilDiv(columns, this.group);
    const scales = new Uint32Array((end - begin) * groups);
    for (let row = begin, at = 0; row < end; row++) {
      const [word, shift] = [row >> 3, 4 * nibbles[row & 7]];
      for (let g = 0; g < groups; g++, at++) scales[at] = bits[g * rows + row] | (((zeros[g * (rows >> 3) + word] + offset) >>> shift) & 15) << 16;
    }
    return { words: levels.length / (end - begin), levels, scales };
  }

  /** Groups must be of neighbours where `quantization_config` says nothing else. */
  #requireOrder(order: Uint32Array): void {
    if (order.every((group, input) => group === Math.floor(input / this.group))) return;
    refuseTensor(
      this.#named.checkpoint,
      `${this.#named.name}.g_idx`,
      "has inputs in the order of their activations, but quantization_config does not say so (desc_act)",
    );
  }
}

/** Rows that are wanted of a matrix. */
interface Wanted {
  /** All that there are. */
  readonly rows: number;
  readonly columns: number;
  readonly begin: number;
  readonly end: number;
}

/** Rows that are turned round together, so that what is written stays in a cache. */
const ROWS_AT_ONCE = 16;

/** GPTQ's words are those of rows already. */
function turn({ buffer, byteOffset, length }: Uint32Array<ArrayBuffer>, { rows, columns, begin, end }: Wanted): Uint32Array<ArrayBuffer> {
  // Of words with a sign, since they are small integers to the compiler.
  const words = new Int32Array(buffer, byteOffset, length);
  const perRow = columns / 8;
  const levels = new Int32Array((end - begin) * perRow);
  for (let first = begin; first < end; first += ROWS_AT_ONCE) {
    const last = Math.min(first + ROWS_AT_ONCE, end);
    for (let word = 0, from = 0; word < perRow; word++, from += rows) {
      for (let row = first, to = (first - begin) * perRow + word; row < last; row++, to += perRow) levels[to] = words[from + row];
    }
  }
  return new Uint32Array(levels.buffer);
}

/** Of AWQ's, eight inputs by eight outputs are turned round at a time. */
function unpackAwq({ buffer, byteOffset, length }: Uint32Array<ArrayBuffer>, { rows, columns, begin, end }: Wanted): Uint32Array<ArrayBuffer> {
  const words = new Int32Array(buffer, byteOffset, length);
  const [perInput, perRow] = [rows / 8, ceilDiv(columns, 8)];
  const levels = new Int32Array((end - begin) * perRow);
  const eight = new Int32Array(8);
  for (let block = begin >> 3; block < ceilDiv(end, 8); block++) {
    const [first, last] = [Math.max(0, begin - block * 8), Math.min(8, end - block * 8)];
    for (let word = 0; word < perRow; word++) {
      const inputs = Math.min(8, columns - word * 8);
      for (let i = 0, from = word * 8 * perInput + block; i < 8; i++, from += perInput) eight[i] = i < inputs ? words[from] : 0;
      turnNibbles(eight);
      for (let o = first, to = (block * 8 + first - begin) * perRow + word; o < last; o++, to += perRow) levels[to] = eight[AWQ_NIBBLES[o]];
    }
  }
  return new Uint32Array(levels.buffer);
}

/**
 * Nibble i of word j becomes nibble j of word i: halves of the square change places, then halves of its quarters, then those of theirs. Variables stay in registers,
 * which elements of an array do not.
 */
function turnNibbles(words: Int32Array): void {
  let w0 = words[0];
  let w1 = words[1];
  let w2 = words[2];
  let w3 = words[3];
  let w4 = words[4];
  let w5 = words[5];
  let w6 = words[6];
  let w7 = words[7];
  let t = 0;
  t = ((w0 >>> 16) ^ w4) & 0xffff;
  w4 ^= t;
  w0 ^= t << 16;
  t = ((w1 >>> 16) ^ w5) & 0xffff;
  w5 ^= t;
  w1 ^= t << 16;
  t = ((w2 >>> 16) ^ w6) & 0xffff;
  w6 ^= t;
  w2 ^= t << 16;
  t = ((w3 >>> 16) ^ w7) & 0xffff;
  w7 ^= t;
  w3 ^= t << 16;
  t = ((w0 >>> 8) ^ w2) & 0xff00ff;
  w2 ^= t;
  w0 ^= t << 8;
  t = ((w1 >>> 8) ^ w3) & 0xff00ff;
  w3 ^= t;
  w1 ^= t << 8;
  t = ((w4 >>> 8) ^ w6) & 0xff00ff;
  w6 ^= t;
  w4 ^= t << 8;
  t = ((w5 >>> 8) ^ w7) & 0xff00ff;
  w7 ^= t;
  w5 ^= t << 8;
  t = ((w0 >>> 4) ^ w1) & 0xf0f0f0f;
  w1 ^= t;
  w0 ^= t << 4;
  t = ((w2 >>> 4) ^ w3) & 0xf0f0f0f;
  w3 ^= t;
  w2 ^= t << 4;
  t = ((w4 >>> 4) ^ w5) & 0xf0f0f0f;
  w5 ^= t;
  w4 ^= t << 4;
  t = ((w6 >>> 4) ^ w7) & 0xf0f0f0f;
  w7 ^= t;
  w6 ^= t << 4;
  words[0] = w0;
  words[1] = w1;
  words[2] = w2;
  words[3] = w3;
  words[4] = w4;
  words[5] = w5;
  words[6] = w6;
  words[7] = w7;
}

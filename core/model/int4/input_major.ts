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

  /** Whether a list says which group each input is in. */
  get #ordered(): boolean {
    return this.#spec.kind === "gptq" && this.#named.checkpoint.has(`${this.#named.name}.g_idx`);
  }

  get storedBytes(): number {
    return this.ranges().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  ranges(): FileRange[] {
    return ["qweight", "scales", "qzeros", ...(this.#ordered ? ["g_idx"] : [])].map((tensor) =>
      this.#named.checkpoint.range(`${this.#named.name}.${tensor}`)
    );
  }

  rows([qweight, stored, qzeros, order]: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number): Int4Rows {
    const { rows, columns } = this.#named;
    if (order !== undefined) this.#requireOrder(wordsOf(order));
    const levels = this.#spec.kind === "awq"
      ? unpackAwq(wordsOf(qweight), { rows, columns, begin, end })
      : turn(wordsOf(qweight), { rows, begin, end });
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

  /** Groups must be of neighbours: any other order (`desc_act`) would need inputs in that order, too. */
  #requireOrder(order: Uint32Array): void {
    if (order.every((group, input) => group === Math.floor(input / this.group))) return;
    refuseTensor(
      this.#named.checkpoint,
      `${this.#named.name}.g_idx`,
      "has inputs in the order of their activations (desc_act), which is not supported",
    );
  }
}

/** GPTQ's words are those of rows already. */
function turn(
  words: Uint32Array,
  { rows, begin, end }: { readonly rows: number; readonly begin: number; readonly end: number },
): Uint32Array<ArrayBuffer> {
  const perRow = words.length / rows;
  const levels = new Uint32Array((end - begin) * perRow);
  // Some rows at a time, so that what is written stays in a cache.
  for (let first = begin; first < end; first += 16) {
    const last = Math.min(first + 16, end);
    for (let word = 0; word < perRow; word++) {
      for (let row = first; row < last; row++) levels[(row - begin) * perRow + word] = words[word * rows + row];
    }
  }
  return levels;
}

/** Of AWQ's, eight inputs by eight outputs are turned round at a time. */
function unpackAwq(
  words: Uint32Array,
  { rows, columns, begin, end }: { readonly rows: number; readonly columns: number; readonly begin: number; readonly end: number },
): Uint32Array<ArrayBuffer> {
  const [perInput, perRow] = [rows / 8, ceilDiv(columns, 8)];
  const levels = new Uint32Array((end - begin) * perRow);
  for (let block = begin >> 3; block < ceilDiv(end, 8); block++) {
    for (let word = 0; word < perRow; word++) {
      for (let i = 0; i < 8 && word * 8 + i < columns; i++) {
        const eight = words[(word * 8 + i) * perInput + block];
        for (let o = Math.max(0, begin - block * 8); o < 8 && block * 8 + o < end; o++) {
          levels[(block * 8 + o - begin) * perRow + word] |= ((eight >>> (4 * AWQ_NIBBLES[o])) & 15) << (4 * i);
        }
      }
    }
  }
  return levels;
}

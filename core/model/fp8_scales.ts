/**
 * Where an FP8 matrix has its scales, and what they are for.
 *
 * @module
 */
import { ceilDiv } from "../numeric.ts";
import { type Checkpoint, type FileRange, refuseTensor, type StoredDtype } from "./checkpoint.ts";
import { matrixLayout, unpackRow, viewsOf } from "./packing.ts";

/** What shares one scale: rows × columns, a row (`channel`), or all of a matrix (`tensor`). */
export type Fp8Block = readonly [rows: number, columns: number] | "channel" | "tensor";

/** DeepSeek's name, which is short for what the inverse of quantising takes, and that of compressed-tensors. Both are multiplied by. */
const SUFFIXES = ["_scale_inv", "_scale"];
const BYTES = { f32: 4, f16: 2, bf16: 2 } as const;
const FORMATS: Partial<Record<StoredDtype, keyof typeof BYTES>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** The scales of one matrix, or of a stack of equal ones, each of which has its own. */
export class Fp8Scales {
  /** Rows × columns that share one. */
  readonly block: readonly [rows: number, columns: number];
  readonly #checkpoint: Checkpoint;
  readonly #name: string;
  readonly #perRow: number;
  readonly #format: keyof typeof BYTES;
  /** Rows of one matrix, and of its scales. */
  readonly #rows: number;
  readonly #scaleRows: number;

  /**
   * @param name of the matrix, which has rows × columns, or of so many of them
   * @throws {LatentmeshError} `invalid_checkpoint` if there are none, or not as many as the matrix has blocks
   */
  constructor(
    checkpoint: Checkpoint,
    name: string,
    [rows, columns, matrices = 1]: readonly [rows: number, columns: number, matrices?: number],
    block: Fp8Block | null,
  ) {
    if (block === null) refuseTensor(checkpoint, name, "is FP8, but config.json has no quantization_config that says what shares a scale");
    this.#checkpoint = checkpoint;
    this.#name = name + (SUFFIXES.find((suffix) => checkpoint.has(name + suffix)) ?? SUFFIXES[0]);
    const info = checkpoint.info(this.#name);
    // Of stacks there may be one scale for all, or two for each, where gates and what they gate were matrices of their own.
    const count = info.shape.reduce((product, length) => product * length, 1);
    const [joined, halves] = [block === "tensor" && count === 1 ? matrices : 1, block === "tensor" && matrices > 1 && count === 2 * matrices ? 2 : 1];
    this.block = block === "tensor" ? [joined * rows / halves, columns] : block === "channel" ? [1, columns] : block;
    this.#perRow = ceilDiv(columns, this.block[1]);
    this.#rows = joined * rows;
    this.#scaleRows = ceilDiv(this.#rows, this.block[0]);
    const expected = [...(matrices > joined ? [matrices] : []), this.#scaleRows, this.#perRow];
    const format = FORMATS[info.dtype];
    // One scale may have no shape, and one of each row no columns.
    const [stored, wanted] = typeof block === "string"
      ? [info.shape.filter((length) => length !== 1), expected.filter((length) => length !== 1)]
      : [info.shape, expected];
    const problem = `is ${info.dtype} [${info.shape.join(", ")}] where blocks of ${this.block.join("×")} need ${Object.keys(FORMATS).join(", ")} [${
      expected.join(", ")
    }]`;
    if (stored.join() !== wanted.join()) refuseTensor(checkpoint, this.#name, problem);
    this.#format = format ?? refuseTensor(checkpoint, this.#name, problem);
  }

  /** Where those of rows `begin … end` are. */
  range(begin: number, end: number): FileRange {
    const rowBytes = this.#perRow * BYTES[this.#format];
    return this.#checkpoint.range(this.#name, this.#rowOf(begin) * rowBytes, (this.#rowOf(end - 1) + 1) * rowBytes);
  }

  /** Row of scales for a row of weights: blocks end where a matrix does. */
  #rowOf(row: number): number {
    return Math.floor(row / this.#rows) * this.#scaleRows + Math.floor(row % this.#rows / this.block[0]);
  }

  /** Scales of rows `begin … end`, each with its own: [rows, blocks of columns]. @param bytes what is at their {@link Fp8Scales.range} */
  ofRows(bytes: Uint8Array<ArrayBuffer>, begin: number, end: number): Float32Array<ArrayBuffer> {
    const stored = new Float32Array(bytes.byteLength / BYTES[this.#format]);
    unpackRow(matrixLayout(this.#format, stored.length), viewsOf(bytes), viewsOf(bytes), 0, stored);
    const first = this.#rowOf(begin);
    const scales = new Float32Array((end - begin) * this.#perRow);
    for (let row = begin; row < end; row++) {
      const from = (this.#rowOf(row) - first) * this.#perRow;
      scales.set(stored.subarray(from, from + this.#perRow), (row - begin) * this.#perRow);
    }
    return scales;
  }

  /** Where the scale of a column is among those of its row. */
  indexOf(column: number): number {
    return Math.floor(column / this.block[1]);
  }

  /** Scales of a row. */
  get perRow(): number {
    return this.#perRow;
  }
}

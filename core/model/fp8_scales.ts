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

/** The scales of one matrix. */
export class Fp8Scales {
  /** Rows × columns that share one. */
  readonly block: readonly [rows: number, columns: number];
  readonly #checkpoint: Checkpoint;
  readonly #name: string;
  readonly #perRow: number;
  readonly #format: keyof typeof BYTES;

  /**
   * @param name of the matrix, which has rows × columns
   * @throws {LatentmeshError} `invalid_checkpoint` if there are none, or not as many as the matrix has blocks
   */
  constructor(checkpoint: Checkpoint, name: string, [rows, columns]: readonly [number, number], block: Fp8Block | null) {
    if (block === null) refuseTensor(checkpoint, name, "is FP8, but config.json has no quantization_config that says what shares a scale");
    this.block = block === "tensor" ? [rows, columns] : block === "channel" ? [1, columns] : block;
    this.#checkpoint = checkpoint;
    this.#name = name + (SUFFIXES.find((suffix) => checkpoint.has(name + suffix)) ?? SUFFIXES[0]);
    this.#perRow = ceilDiv(columns, this.block[1]);
    const expected = [ceilDiv(rows, this.block[0]), this.#perRow];
    const info = checkpoint.info(this.#name);
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
    return this.#checkpoint.range(this.#name, Math.floor(begin / this.block[0]) * rowBytes, ceilDiv(end, this.block[0]) * rowBytes);
  }

  /** Scales of rows `begin … end`, each with its own: [rows, blocks of columns]. @param bytes what is at their {@link Fp8Scales.range} */
  ofRows(bytes: Uint8Array<ArrayBuffer>, begin: number, end: number): Float32Array<ArrayBuffer> {
    const stored = new Float32Array(bytes.byteLength / BYTES[this.#format]);
    unpackRow(matrixLayout(this.#format, stored.length), viewsOf(bytes), viewsOf(bytes), 0, stored);
    const first = Math.floor(begin / this.block[0]);
    const scales = new Float32Array((end - begin) * this.#perRow);
    for (let row = begin; row < end; row++) {
      const from = (Math.floor(row / this.block[0]) - first) * this.#perRow;
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

/**
 * A weight matrix as the checkpoint stores it, in blocks of rows: what must be read for each, and how it becomes what a device holds. Only the rows and columns that
 * were asked for are converted.
 *
 * @module
 */
import { gcd } from "../numeric.ts";
import { type Checkpoint, type FileRange, readRange, refuseTensor, requireTensorShape, type StoredDtype } from "./checkpoint.ts";
import { type Fp8Block, Fp8Scales } from "./fp8_scales.ts";
import { openLevels } from "./gguf/level_rows.ts";
import { openWidened } from "./gguf/widened_tensor.ts";
import { type Int4Columns, int4Layout, packInt4 } from "./int4/int4_columns.ts";
import type { Int4Spec } from "./int4/int4_spec.ts";
import type { Int4Tensor } from "./int4/int4_tensor.ts";
import { openInt4 } from "./int4/open_int4.ts";
import { Reordered } from "./int4/reordered.ts";
import { allocateRows, type MatrixLayout, matrixLayout, type PackedRows, packRow, unpackRow, viewsOf, type WeightFormat } from "./packing.ts";
import type { WidenedTensor } from "./widened.ts";

/** Half-open range of rows or columns. */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/** What is done to linear weights on load. */
export type WeightPolicy = "keep" | "q8" | "q4";

/** The same, or that it is widened to f32, as what stands in one matrix with others that are stored otherwise. */
export type LoadedAs = WeightPolicy | "widen";

/** Which part of a stored matrix is wanted; everything by default. */
export interface MatrixSelection {
  readonly rows?: readonly Range[];
  readonly columns?: Range;
}

/** How a checkpoint's quantised matrices are stored. */
export interface StoredFormats {
  /** What shares a scale, in FP8 checkpoints. */
  readonly fp8Block: Fp8Block | null;
  /** How weights of four bits are stored, if some are; none by default. */
  readonly int4?: Int4Spec | null;
}

/** Host bytes, as float32, of the rows that are converted at a time. */
const BLOCK_BYTES = 8 << 20;

/** Consecutive rows of a matrix. */
export interface RowBlock {
  readonly rows: number;
  /** What is read for them: the rows, and of FP8 their scales. */
  readonly reads: readonly FileRange[];
  /** Whether the device holds just the bytes that are read. Such a block may be of any size; of others, little is in host memory at a time. */
  readonly verbatim: boolean;
  /**
   * Converts what was read.
   *
   * @param stored what each of `reads` gave, at a multiple of 4 bytes in its memory
   * @param into zeroed
   * @throws {LatentmeshError} `invalid_checkpoint` if there is NaN where none can be
   */
  pack(stored: readonly Uint8Array<ArrayBuffer>[], into: PackedRows): void;
}

const NATIVE_FORMATS: Partial<Record<StoredDtype, WeightFormat>> = { F32: "f32", F16: "f16", BF16: "bf16", F8_E4M3: "fp8" };

/** Selected rows and columns of one stored matrix. */
export class MatrixSource {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly #checkpoint: Checkpoint;
  readonly #native: WeightFormat;
  readonly #storedColumns: number;
  readonly #rowRanges: readonly Range[];
  readonly #columnBegin: number;
  readonly #scales: Fp8Scales | null;
  readonly #int4: Int4Tensor | null;
  readonly #widened: WidenedTensor | null;
  readonly #storedRows: number;

  /**
   * @param name of the tensor; where its checkpoint has several instead, of which it is made, as if it were one
   * @param shape the shape the tensor must have; of a stack of matrices, [matrices, rows, columns], whose rows count from the first matrix on
   * @throws {LatentmeshError} `invalid_checkpoint` if the tensor is missing, of another shape or dtype, or FP8 without matching scales
   */
  constructor(
    checkpoint: Checkpoint,
    name: string,
    shape: readonly [rows: number, columns: number] | readonly [matrices: number, rows: number, columns: number],
    options: MatrixSelection & StoredFormats,
  ) {
    const [columns, rows, matrices = 1] = shape.toReversed();
    const packed = options.int4 == null || matrices > 1 ? null : openInt4(checkpoint, name, [rows, columns], options.int4);
    const reordered = packed instanceof Reordered ? packed : null;
    this.#int4 = (packed instanceof Reordered ? null : packed) ??
      (matrices > 1 || reordered !== null ? null : openLevels(checkpoint, name, [rows, columns]));
    this.#widened = reordered ?? (this.#int4 !== null || matrices > 1 ? null : openWidened(checkpoint, name, [rows, columns]));
    const native = this.#int4 !== null ? this.#int4.format ?? "int4" : this.#widened?.kept ?? nativeFormat(checkpoint, name, shape);
    this.name = name;
    this.#checkpoint = checkpoint;
    this.#native = native;
    this.#storedRows = matrices * rows;
    this.#storedColumns = columns;
    this.#rowRanges = options.rows ?? [{ begin: 0, end: this.#storedRows }];
    this.#columnBegin = options.columns?.begin ?? 0;
    this.columns = (options.columns?.end ?? columns) - this.#columnBegin;
    this.rows = this.#rowRanges.reduce((sum, range) => sum + range.end - range.begin, 0);
    this.#scales = native === "fp8" ? new Fp8Scales(checkpoint, name, [rows, columns, matrices], options.fp8Block) : null;
  }

  /** Whether the checkpoint has it in four bits. */
  get fourBits(): boolean {
    return this.#int4 !== null;
  }

  /** The rows that are wanted, in order, as the file counts them. */
  get rowRanges(): readonly Range[] {
    return this.#rowRanges;
  }

  /** The first column that is wanted. */
  get columnBegin(): number {
    return this.#columnBegin;
  }

  /** Bytes that are read for it, but for scales of FP8. */
  get storedBytes(): number {
    const tensor = this.#int4 ?? this.#widened;
    if (tensor === null) return this.rows * this.#storedRowBytes;
    const ranges = tensor.byRows === false ? [{ begin: 0, end: this.#storedRows }] : this.#rowRanges;
    return ranges.flatMap(({ begin, end }) => tensor.ranges(begin, end)).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Bytes of one row in the file, all columns, where it is one tensor. */
  get #storedRowBytes(): number {
    return this.#storedColumns * NATIVE_BYTES[this.#native]!;
  }

  /** Columns of a matrix in four bits. */
  get #int4Columns(): Int4Columns {
    return { stored: this.#storedColumns, begin: this.#columnBegin, end: this.#columnBegin + this.columns };
  }

  /**
   * Layout on the device under a policy. Levels that have no more bits than a policy would leave are kept. FP8 and they, whose scales do not fall on multiples of four
   * columns, are widened to f32, which is exact.
   */
  layout(policy: LoadedAs): MatrixLayout {
    if (policy === "widen") return matrixLayout("f32", this.columns);
    if (this.#int4 !== null) {
      const kept = policy === "q4" && this.#int4.format === "int8" ? null : int4Layout(this.#int4, this.#int4Columns);
      return kept ?? matrixLayout(policy === "keep" ? "f32" : policy, this.columns);
    }
    if (policy !== "keep") return matrixLayout(policy, this.columns);
    if (this.#native !== "fp8") return matrixLayout(this.#native, this.columns);
    const group = gcd(this.#columnBegin, this.#scales!.block[1]);
    return group % 4 === 0 ? matrixLayout("fp8", this.columns, group) : matrixLayout("f32", this.columns);
  }

  /** The rows in order. */
  *blocks(policy: LoadedAs): Generator<RowBlock> {
    const layout = this.layout(policy);
    if (this.#int4 !== null) return yield* this.#int4Blocks(this.#int4, layout);
    if (this.#widened !== null) return yield* this.#widenedBlocks(this.#widened, layout);
    const verbatim = layout.format === this.#native && this.#native !== "fp8" && this.columns === this.#storedColumns &&
      layout.rowBytes === this.#storedRowBytes;
    for (const [begin, end] of stepsOf(this.#rowRanges, verbatim ? Infinity : this.#rowsAtOnce)) {
      yield {
        rows: end - begin,
        reads: [
          this.#checkpoint.range(this.name, begin * this.#storedRowBytes, end * this.#storedRowBytes),
          ...(this.#scales === null ? [] : [this.#scales.range(begin, end)]),
        ],
        verbatim,
        pack: ([bytes, stored], into) => {
          if (verbatim) return into.data.set(bytes);
          if (this.#native === "fp8") this.#refuseNaN(bytes);
          const scales = this.#scales?.ofRows(stored, begin, end) ?? NO_SCALES;
          if (layout.format === this.#native) this.#repack(layout, bytes, scales, into);
          else this.#convert(layout, bytes, scales, into);
        },
      };
    }
  }

  /** Rows as they are stored, or all that are wanted at once. */
  *#int4Blocks(tensor: Int4Tensor, layout: MatrixLayout): Generator<RowBlock> {
    const columns = this.#int4Columns;
    if (!tensor.byRows) {
      yield {
        rows: this.rows,
        reads: tensor.ranges(0, this.#storedRows),
        verbatim: false,
        pack: (stored, into) => {
          let first = 0;
          for (const { begin, end } of this.#rowRanges) {
            packInt4({ tensor, columns, rows: tensor.rows(stored, begin, end) }, layout, into, first);
            first += end - begin;
          }
        },
      };
      return;
    }
    for (const [begin, end] of stepsOf(this.#rowRanges, this.#rowsAtOnce)) {
      yield {
        rows: end - begin,
        reads: tensor.ranges(begin, end),
        verbatim: false,
        pack: (stored, into) => packInt4({ tensor, columns, rows: tensor.rows(stored, begin, end) }, layout, into, 0),
      };
    }
  }

  /** Rows that go through float32; all that are wanted at once where they cannot be read by themselves. */
  *#widenedBlocks(tensor: WidenedTensor, layout: MatrixLayout): Generator<RowBlock> {
    const block = (ranges: readonly Range[], reads: readonly FileRange[]): RowBlock => ({
      rows: ranges.reduce((sum, { begin, end }) => sum + end - begin, 0),
      reads,
      verbatim: false,
      pack: (stored, into) => {
        let row = 0;
        for (const [begin, end] of stepsOf(ranges, this.#rowsAtOnce)) {
          const values = new Float32Array((end - begin) * this.#storedColumns);
          tensor.widen(stored, begin, end, values);
          for (let from = this.#columnBegin; from < values.length; from += this.#storedColumns, row++) {
            packRow(layout, values.subarray(from, from + this.columns), into, row);
          }
        }
      },
    });
    if (tensor.byRows === false) return yield block(this.#rowRanges, tensor.ranges(0, this.#storedRows));
    for (const [begin, end] of stepsOf(this.#rowRanges, this.#rowsAtOnce)) yield block([{ begin, end }], tensor.ranges(begin, end));
  }

  /** Rows that are converted at a time. */
  get #rowsAtOnce(): number {
    return Math.max(1, Math.floor(BLOCK_BYTES / (this.#storedColumns * 4)));
  }

  /** Of four bytes at a time: one more than 0x7f overflows into its sign, anything less does not. */
  #refuseNaN(bytes: Uint8Array<ArrayBuffer>): void {
    const whole = bytes.byteLength & ~3;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, whole / 4);
    let found = 0;
    for (let i = 0; i < words.length; i++) found |= (words[i] & 0x7f7f7f7f) + 0x01010101;
    for (let i = whole; i < bytes.byteLength; i++) found |= (bytes[i] & 0x7f) + 1;
    if ((found & 0x80808080) !== 0) refuseTensor(this.#checkpoint, this.name, "holds NaN");
  }

  /** Same format: only rows are padded, columns cut and scales spread to the layout's groups. */
  #repack(layout: MatrixLayout, bytes: Uint8Array<ArrayBuffer>, scales: Float32Array<ArrayBuffer>, into: PackedRows): void {
    const storedRowBytes = this.#storedRowBytes;
    const elementBytes = storedRowBytes / this.#storedColumns;
    const from = this.#columnBegin * elementBytes;
    for (let row = 0; row < into.rows; row++) {
      const start = row * storedRowBytes + from;
      into.data.set(bytes.subarray(start, start + this.columns * elementBytes), row * layout.rowBytes);
    }
    if (this.#scales === null) return;
    const groups = layout.scaleRowBytes / 4;
    const spread = floats(into.scales);
    for (let i = 0; i < into.rows * groups; i++) {
      const column = this.#columnBegin + (i % groups) * layout.group;
      spread[i] = scales[Math.floor(i / groups) * this.#scales.perRow + this.#scales.indexOf(column)];
    }
  }

  /** Another format: through float32. */
  #convert(layout: MatrixLayout, bytes: Uint8Array<ArrayBuffer>, scales: Float32Array<ArrayBuffer>, into: PackedRows): void {
    const native: MatrixLayout = { ...matrixLayout(this.#native, this.#storedColumns, this.#scales?.block[1]), rowBytes: this.#storedRowBytes };
    const [data, scaleViews] = [viewsOf(bytes), viewsOf(scales)];
    const whole = new Float32Array(this.#storedColumns);
    const kept = whole.subarray(this.#columnBegin, this.#columnBegin + this.columns);
    for (let row = 0; row < into.rows; row++) {
      unpackRow(native, data, scaleViews, row, whole);
      packRow(layout, kept, into, row);
    }
  }
}

/** Ranges in steps of so many rows. */
function* stepsOf(ranges: readonly Range[], step: number): Generator<readonly [begin: number, end: number]> {
  for (const range of ranges) {
    for (let begin = range.begin; begin < range.end; begin += step) yield [begin, Math.min(begin + step, range.end)];
  }
}

/** The format of a tensor that is stored as one. @throws {LatentmeshError} `invalid_checkpoint` if it is missing, or of another shape or dtype */
function nativeFormat(checkpoint: Checkpoint, name: string, shape: readonly number[]): WeightFormat {
  requireTensorShape(checkpoint, name, shape);
  const { dtype } = checkpoint.info(name);
  return NATIVE_FORMATS[dtype] ??
    refuseTensor(checkpoint, name, `has dtype ${dtype}; supported are ${Object.keys(NATIVE_FORMATS).join(", ")}`);
}

/** Reads a block and converts it. */
export async function readBlock(block: RowBlock, layout: MatrixLayout): Promise<PackedRows> {
  const packed = allocateRows(layout, block.rows);
  block.pack(await Promise.all(block.reads.map((range) => readRange(range))), packed);
  return packed;
}

const NO_SCALES = new Float32Array(0);

const NATIVE_BYTES: Partial<Record<WeightFormat, number>> = { f32: 4, f16: 2, bf16: 2, fp8: 1 };

/** Reads a matrix whole, as float32: [rows, columns]. For what is computed on the host; weights on their way to a device go in blocks. */
export async function readMatrix(source: MatrixSource): Promise<Float32Array<ArrayBuffer>> {
  const layout = source.layout("keep");
  const values = new Float32Array(source.rows * source.columns);
  let row = 0;
  for (const block of source.blocks("keep")) {
    const { data, scales } = await readBlock(block, layout);
    const [dataViews, scaleViews] = [viewsOf(data), viewsOf(scales)];
    for (let i = 0; i < block.rows; i++, row++) {
      unpackRow(layout, dataViews, scaleViews, i, values.subarray(row * source.columns, (row + 1) * source.columns));
    }
  }
  return values;
}

function floats({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}

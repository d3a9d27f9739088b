/**
 * A weight matrix as the checkpoint stores it, read in blocks of rows and packed for a device. Only the rows and columns that were asked for are
 * converted, and never more than one block of them is in host memory.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import { gcd } from "../numeric.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { allocateRows, type MatrixLayout, matrixLayout, type PackedRows, packRows, unpackRow, type WeightFormat } from "./packing.ts";
import { dtypeBytes, type SafetensorsDtype } from "./safetensors.ts";

/** Half-open range of rows or columns. */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/** What is done to linear weights on load. */
export type WeightPolicy = "keep" | "q8" | "q4";

/** Which part of a stored matrix is wanted; everything by default. */
export interface MatrixSelection {
  readonly rows?: readonly Range[];
  readonly columns?: Range;
}

/** Host bytes read at a time. */
const BLOCK_BYTES = 8 << 20;

const NATIVE_FORMATS: Partial<Record<SafetensorsDtype, WeightFormat>> = { F32: "f32", F16: "f16", BF16: "bf16", F8_E4M3: "fp8" };

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
  readonly #block: readonly [number, number] | null;

  /**
   * @param shape the shape the tensor must have
   * @param fp8Block rows × columns per scale, for FP8 checkpoints
   * @throws {LatentmeshError} `invalid_checkpoint` if the tensor is missing, of another shape or dtype, or FP8 without matching scales
   */
  constructor(
    checkpoint: Checkpoint,
    name: string,
    shape: readonly [rows: number, columns: number],
    options: MatrixSelection & { fp8Block: readonly [number, number] | null },
  ) {
    const info = checkpoint.info(name);
    if (info.shape.join() !== shape.join()) {
      refuse(checkpoint, name, `has shape [${info.shape.join(", ")}] where config.json implies [${shape.join(", ")}]`);
    }
    const native = NATIVE_FORMATS[info.dtype] ??
      refuse(checkpoint, name, `has dtype ${info.dtype}; supported are ${Object.keys(NATIVE_FORMATS).join(", ")}`);
    this.name = name;
    this.#checkpoint = checkpoint;
    this.#native = native;
    this.#storedColumns = shape[1];
    this.#rowRanges = options.rows ?? [{ begin: 0, end: shape[0] }];
    this.#columnBegin = options.columns?.begin ?? 0;
    this.columns = (options.columns?.end ?? shape[1]) - this.#columnBegin;
    this.rows = this.#rowRanges.reduce((sum, range) => sum + range.end - range.begin, 0);
    this.#block = native === "fp8" ? checkScales(checkpoint, name, shape, options.fp8Block) : null;
  }

  /** The rows that are wanted, in order, as the file counts them. */
  get rowRanges(): readonly Range[] {
    return this.#rowRanges;
  }

  /** The first column that is wanted. */
  get columnBegin(): number {
    return this.#columnBegin;
  }

  /** Bytes of one row in the file, all columns. */
  get storedRowBytes(): number {
    return this.#storedColumns * NATIVE_BYTES[this.#native]!;
  }

  /** Layout on the device under a policy. FP8 whose scale blocks do not fall on multiples of four columns is widened to f32, which is exact. */
  layout(policy: WeightPolicy): MatrixLayout {
    if (policy !== "keep") return matrixLayout(policy, this.columns);
    if (this.#native !== "fp8") return matrixLayout(this.#native, this.columns);
    const group = gcd(this.#columnBegin, this.#block![1]);
    return group % 4 === 0 ? matrixLayout("fp8", this.columns, group) : matrixLayout("f32", this.columns);
  }

  /** Reads, converts and yields the rows in order, a block at a time. */
  async *blocks(policy: WeightPolicy): AsyncGenerator<PackedRows> {
    const layout = this.layout(policy);
    const step = Math.max(1, Math.floor(BLOCK_BYTES / (this.#storedColumns * 4)));
    for (const range of this.#rowRanges) {
      for (let begin = range.begin; begin < range.end; begin += step) {
        const end = Math.min(begin + step, range.end);
        const stored = await this.#readRows(begin, end);
        yield layout.format === this.#native ? this.#repack(layout, stored, end - begin) : this.#convert(layout, stored, end - begin);
      }
    }
  }

  /** Stored rows in the native format, all columns, with their scales. */
  async #readRows(begin: number, end: number): Promise<StoredRows> {
    const bytesPerRow = this.storedRowBytes;
    const bytes = await this.#checkpoint.read(this.name, begin * bytesPerRow, end * bytesPerRow);
    if (this.#block === null) return { bytes, bytesPerRow, scales: null };
    if (bytes.some((bits) => (bits & 0x7f) === 0x7f)) refuse(this.#checkpoint, this.name, "holds NaN");
    return { bytes, bytesPerRow, scales: await this.#readScales(begin, end) };
  }

  /** Scales of rows `begin … end`: [rows, blocks of columns]. */
  async #readScales(begin: number, end: number): Promise<Float32Array<ArrayBuffer>> {
    const [blockRows, blockColumns] = this.#block!;
    const perRow = Math.ceil(this.#storedColumns / blockColumns);
    const first = Math.floor(begin / blockRows);
    const last = Math.floor((end - 1) / blockRows) + 1;
    const bytes = await this.#checkpoint.read(scaleName(this.name), first * perRow * 4, last * perRow * 4);
    const stored = new Float32Array(bytes.buffer);
    const scales = new Float32Array((end - begin) * perRow);
    for (let row = begin; row < end; row++) {
      const from = (Math.floor(row / blockRows) - first) * perRow;
      scales.set(stored.subarray(from, from + perRow), (row - begin) * perRow);
    }
    return scales;
  }

  /** Same format: only rows are padded, columns cut and scales spread to the layout's groups. */
  #repack(layout: MatrixLayout, stored: StoredRows, rows: number): PackedRows {
    const packed = allocateRows(layout, rows);
    const elementBytes = stored.bytesPerRow / this.#storedColumns;
    const from = this.#columnBegin * elementBytes;
    for (let row = 0; row < rows; row++) {
      const start = row * stored.bytesPerRow + from;
      packed.data.set(stored.bytes.subarray(start, start + this.columns * elementBytes), row * layout.rowBytes);
    }
    if (stored.scales !== null) {
      const perRow = stored.scales.length / rows;
      const groups = layout.scaleRowBytes / 4;
      const scales = new Float32Array(packed.scales.buffer);
      for (let i = 0; i < rows * groups; i++) {
        const column = this.#columnBegin + (i % groups) * layout.group;
        scales[i] = stored.scales[Math.floor(i / groups) * perRow + Math.floor(column / this.#block![1])];
      }
    }
    return packed;
  }

  /** Another format: through float32. */
  #convert(layout: MatrixLayout, stored: StoredRows, rows: number): PackedRows {
    const native: MatrixLayout = {
      ...matrixLayout(this.#native, this.#storedColumns, this.#block?.[1]),
      rowBytes: stored.bytesPerRow,
    };
    const data = viewsOf(stored.bytes.buffer);
    const scales = stored.scales === null ? data : viewsOf(stored.scales.buffer);
    const whole = new Float32Array(this.#storedColumns);
    const values = new Float32Array(rows * this.columns);
    for (let row = 0; row < rows; row++) {
      unpackRow(native, data, scales, row, whole);
      values.set(whole.subarray(this.#columnBegin, this.#columnBegin + this.columns), row * this.columns);
    }
    return packRows(layout, values, rows);
  }
}

interface StoredRows {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly bytesPerRow: number;
  /** [rows, blocks of columns]; null for unscaled formats. */
  readonly scales: Float32Array<ArrayBuffer> | null;
}

const NATIVE_BYTES: Partial<Record<WeightFormat, number>> = { f32: 4, f16: 2, bf16: 2, fp8: 1 };

/**
 * Reads a small tensor whole, as float32.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if it is missing or of another shape or dtype
 */
export async function readVector(checkpoint: Checkpoint, name: string, length: number): Promise<Float32Array<ArrayBuffer>> {
  const info = checkpoint.info(name);
  const elements = info.shape.reduce((product, dimension) => product * dimension, 1);
  if (elements !== length) refuse(checkpoint, name, `has shape [${info.shape.join(", ")}] where config.json implies ${length} elements`);
  const format = NATIVE_FORMATS[info.dtype];
  if (format === undefined || format === "fp8") return refuse(checkpoint, name, `has dtype ${info.dtype}; supported here are F32, F16, BF16`);
  const bytes = await checkpoint.read(name, 0, length * dtypeBytes(info.dtype));
  const views = viewsOf(bytes.buffer);
  const values = new Float32Array(length);
  unpackRow(matrixLayout(format, length), views, views, 0, values);
  return values;
}

/** Reads a matrix whole, as float32: [rows, columns]. For what is computed on the host; weights on their way to a device go in blocks. */
export async function readMatrix(source: MatrixSource): Promise<Float32Array<ArrayBuffer>> {
  const layout = source.layout("keep");
  const values = new Float32Array(source.rows * source.columns);
  let row = 0;
  for await (const block of source.blocks("keep")) {
    const [data, scales] = [viewsOf(block.data.buffer), viewsOf(block.scales.buffer)];
    for (let i = 0; i < block.rows; i++, row++) unpackRow(layout, data, scales, i, values.subarray(row * source.columns, (row + 1) * source.columns));
  }
  return values;
}

function viewsOf(buffer: ArrayBuffer): { f32: Float32Array; u16: Uint16Array; u8: Uint8Array } {
  return {
    f32: new Float32Array(buffer, 0, Math.floor(buffer.byteLength / 4)),
    u16: new Uint16Array(buffer, 0, Math.floor(buffer.byteLength / 2)),
    u8: new Uint8Array(buffer),
  };
}

function scaleName(name: string): string {
  return `${name}_scale_inv`;
}

function checkScales(
  checkpoint: Checkpoint,
  name: string,
  [rows, columns]: readonly [number, number],
  block: readonly [number, number] | null,
): readonly [number, number] {
  if (block === null) return refuse(checkpoint, name, "is FP8, but config.json has no quantization_config.weight_block_size");
  const expected = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])];
  const info = checkpoint.info(scaleName(name));
  if (info.dtype !== "F32" || info.shape.join() !== expected.join()) {
    refuse(
      checkpoint,
      scaleName(name),
      `is ${info.dtype} [${info.shape.join(", ")}] where blocks of ${block.join("×")} need F32 [${expected.join(", ")}]`,
    );
  }
  return block;
}

function refuse(checkpoint: Checkpoint, name: string, problem: string): never {
  throw new LatentmeshError("invalid_checkpoint", `Cannot load model: tensor "${name}" in ${checkpoint.name} ${problem}`);
}

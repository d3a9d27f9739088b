/**
 * What is to be uploaded: buffers for all tensors of a rank, split over bindings, and for each which bytes of the checkpoint become its contents. Nothing is read yet,
 * so that what reads can go through files from front to back, and kernels can be bound meanwhile.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Checkpoint, FileRange } from "../../core/model/checkpoint.ts";
import type { MatrixSource, RowBlock, WeightPolicy } from "../../core/model/matrix_source.ts";
import { storedVector } from "../../core/model/stored_vector.ts";
import { bitsPerWeight, type MatrixLayout, matrixLayout, type PackedRows, packRows, sameLayout } from "../../core/model/packing.ts";
import { roundUp } from "../../core/numeric.ts";
import type { Device, DeviceBuffer, StagedCopy } from "../../kernels/device/device.ts";
import type { BasisChangeTarget } from "./basis_change.ts";
import { type RowsToMake, WeightMaker } from "./weight_maker.ts";
import type { DeviceMatrix, MatrixPart } from "../forward/weights.ts";

/** Bytes of a file that a buffer holds as they are. */
export interface VerbatimUpload {
  readonly range: FileRange;
  readonly buffer: DeviceBuffer;
  /** First byte in the buffer. */
  readonly to: number;
}

/** What is converted on its way. */
export interface ConvertedUpload {
  readonly reads: readonly FileRange[];
  /** Bytes that it becomes. */
  readonly bytes: number;
  /** Where they go. */
  readonly parts: readonly StagedCopy[];
  /** @param stored what each of `reads` gave @param into zeroed */
  convert(stored: readonly Uint8Array<ArrayBuffer>[], into: Uint8Array<ArrayBuffer>): void;
}

/** What is computed, from the checkpoint or instead of it. */
export interface ComputedUpload {
  /** Bytes of the checkpoint that it takes in. */
  readonly storedBytes: number;
  run(): Promise<void>;
}

/** Where scales begin behind data, and what is read begins in memory: any view may begin there. */
const ALIGNMENT = 16;

/** Collects uploads. */
export class UploadPlan {
  readonly device: Device;
  readonly verbatim: VerbatimUpload[] = [];
  readonly converted: ConvertedUpload[] = [];
  readonly computed: ComputedUpload[] = [];
  /** Bytes of the buffers. */
  deviceBytes = 0;
  readonly #checkpoint: Checkpoint;
  readonly #policy: WeightPolicy;
  /** Makes weights that nobody stored where they lie; null: they are read. */
  readonly #maker: WeightMaker | null;
  /** Stands for the scales of formats that have none. */
  readonly #noScales: DeviceBuffer;

  /** @param policy what is done to linear weights unless a call says otherwise */
  constructor(device: Device, checkpoint: Checkpoint, policy: WeightPolicy) {
    this.device = device;
    this.#checkpoint = checkpoint;
    this.#policy = policy;
    this.#maker = checkpoint.seed === null ? null : new WeightMaker(device, checkpoint.seed);
    this.#noScales = device.createBuffer("no scales", 16);
  }

  /** Bytes of the checkpoint that are read. */
  get storedBytes(): number {
    const ranges = [...this.verbatim.map(({ range }) => range), ...this.converted.flatMap(({ reads }) => reads)];
    return ranges.reduce((sum, { bytes }) => sum + bytes, 0) + this.computed.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  }

  /** Matrices, each the rows of its sources one after the other. */
  stack(matrices: readonly (readonly MatrixSource[])[], policy: WeightPolicy = this.#policy): DeviceMatrix {
    const loadedAs = haveOneLayout(matrices.flat(), policy) ? policy : "widen";
    const layout = matrices[0][0].layout(loadedAs);
    const outputs = matrices[0].reduce((sum, source) => sum + source.rows, 0);
    const single = matrices.length === 1;
    const unitRows = single ? 1 : outputs;
    const parts = this.#allocate(matrices[0][0].name, layout, { units: single ? outputs : matrices.length, unitRows });
    let row = 0;
    for (const source of matrices.flat()) {
      if (this.#maker !== null && (layout.format === "int4" || !source.fourBits)) {
        this.#make(layout, parts, { unitRows, row, source });
        row += source.rows;
        continue;
      }
      for (const block of source.blocks(loadedAs)) {
        this.#addRows(block, layout, rowParts(parts, unitRows, row, block.rows));
        row += block.rows;
      }
    }
    return { layout, outputs, matrices: matrices.length, parts };
  }

  /** A small tensor, as float32, times `scale`. */
  vector(name: string, length: number, scale = 1): DeviceBuffer {
    const { range, widen } = storedVector(this.#checkpoint, name, length);
    const bytes = length * 4;
    const buffer = this.buffer(name, bytes);
    this.converted.push({
      reads: [range],
      bytes,
      parts: [{ from: 0, buffer, to: 0, bytes }],
      convert: ([stored], into) => {
        const values = new Float32Array(into.buffer, into.byteOffset, length);
        widen(stored, values);
        if (scale !== 1) { for (let i = 0; i < length; i++) values[i] *= scale; }
      },
    });
    return buffer;
  }

  /**
   * What is computed from a matrix, as the policy has it. Where it keeps weights as they are stored, what they become is kept in float32; devices with matrix units,
   * which round inputs to f16 anyway, have it in f16 unless the file's precision is float32.
   *
   * @param compute gives its values
   */
  computedMatrix(source: MatrixSource, columns: number, compute: Compute): DeviceMatrix {
    const { name: label, rows, storedBytes } = source;
    const kept = this.device.features.matrixUnits && source.layout("keep").format !== "f32" ? "f16" : "f32";
    const layout = matrixLayout(this.#policy === "keep" ? kept : this.#policy, columns);
    const parts = this.#allocate(label, layout, { units: rows, unitRows: 1 });
    const { format } = layout;
    const target = (format === "f32" || format === "f16") && parts.length === 1
      ? { buffer: parts[0].weights, stride: layout.rowBytes * 8 / bitsPerWeight(format), format }
      : null;
    this.computed.push({
      storedBytes,
      run: async () => {
        const values = await compute(target);
        if (values !== null) this.#write(layout, rowParts(parts, 1, 0, rows), packRows(layout, values, rows));
      },
    });
    return { layout, outputs: rows, matrices: 1, parts };
  }

  /** Memory that is part of the weights and written by whoever asks for it. */
  buffer(label: string, bytes: number): DeviceBuffer {
    this.deviceBytes += bytes;
    return this.device.createBuffer(label, bytes);
  }

  #make(layout: MatrixLayout, parts: readonly MatrixPart[], rows: RowsToMake): void {
    this.computed.push({
      storedBytes: rows.source.storedBytes,
      run: async () => {
        await this.#maker!.make(layout, parts, rows);
        this.device.submit();
      },
    });
  }

  /** Buffers for `units` of `unitRows` rows, as many units in each as one binding allows. */
  #allocate(label: string, layout: MatrixLayout, { units, unitRows }: { readonly units: number; readonly unitRows: number }): MatrixPart[] {
    const { maxBindingBytes, maxBufferBytes } = this.device.limits;
    const perPart = Math.floor(Math.min(maxBindingBytes, maxBufferBytes) / (layout.rowBytes * unitRows));
    if (perPart === 0) throw new LatentmeshError("out_of_memory", `${label} does not fit one binding of ${maxBindingBytes} bytes on this device`);
    const parts: MatrixPart[] = [];
    for (let first = 0; first < units; first += perPart) {
      const count = Math.min(perPart, units - first);
      const rows = count * unitRows;
      parts.push({
        first,
        count,
        weights: this.buffer(label, rows * layout.rowBytes),
        scales: layout.scaleRowBytes === 0 ? this.#noScales : this.buffer(`${label} scales`, rows * layout.scaleRowBytes),
      });
    }
    return parts;
  }

  #addRows(block: RowBlock, layout: MatrixLayout, targets: readonly RowPart[]): void {
    if (block.verbatim) {
      const [{ source, offset }] = block.reads;
      for (const { part, row, begin, rows } of targets) {
        const range = { source, offset: offset + row * layout.rowBytes, bytes: rows * layout.rowBytes };
        this.verbatim.push({ range, buffer: part.weights, to: begin * layout.rowBytes });
      }
      return;
    }
    const dataBytes = block.rows * layout.rowBytes;
    const scaleBytes = block.rows * layout.scaleRowBytes;
    const scalesAt = roundUp(dataBytes, ALIGNMENT);
    this.converted.push({
      reads: block.reads,
      bytes: scalesAt + scaleBytes,
      parts: copiesOf(layout, targets, scalesAt),
      convert: (stored, into) =>
        block.pack(stored, { rows: block.rows, data: into.subarray(0, dataBytes), scales: into.subarray(scalesAt, scalesAt + scaleBytes) }),
    });
  }

  #write(layout: MatrixLayout, targets: readonly RowPart[], { data, scales }: PackedRows): void {
    for (const { from, buffer, to, bytes } of copiesOf(layout, targets, data.byteLength)) {
      const [memory, at] = from < data.byteLength ? [data, from] : [scales, from - data.byteLength];
      this.device.write(buffer, to, memory.subarray(at, at + bytes));
    }
  }
}

/** Computes a matrix. @param target takes its values, if it is not null @returns them, unless they are in `target` */
export type Compute = (target: BasisChangeTarget | null) => Promise<Float32Array<ArrayBuffer> | null>;

/** Rows of a block that one part of a matrix holds. */
interface RowPart {
  readonly part: MatrixPart;
  /** First row in the block. */
  readonly row: number;
  /** First row in the part. */
  readonly begin: number;
  readonly rows: number;
}

/** Rows `row … row + rows` of a matrix, by the parts that hold them. */
function rowParts(parts: readonly MatrixPart[], unitRows: number, row: number, rows: number): RowPart[] {
  return parts.flatMap((part) => {
    const first = part.first * unitRows;
    const begin = Math.max(row, first);
    const end = Math.min(row + rows, first + part.count * unitRows);
    return begin >= end ? [] : [{ part, row: begin - row, begin: begin - first, rows: end - begin }];
  });
}

/** From rows of data, and behind them, at `scalesAt`, their scales. */
function copiesOf({ rowBytes, scaleRowBytes }: MatrixLayout, targets: readonly RowPart[], scalesAt: number): StagedCopy[] {
  return targets.flatMap(({ part, row, begin, rows }) => [
    { from: row * rowBytes, buffer: part.weights, to: begin * rowBytes, bytes: rows * rowBytes },
    ...(scaleRowBytes === 0
      ? []
      : [{ from: scalesAt + row * scaleRowBytes, buffer: part.scales, to: begin * scaleRowBytes, bytes: rows * scaleRowBytes }]),
  ]);
}

/** Whether rows of all of them can stand in one matrix as they are: there are files whose gates are stored otherwise than what they gate. */
function haveOneLayout(sources: readonly MatrixSource[], policy: WeightPolicy): boolean {
  const layout = sources[0].layout(policy);
  return sources.every((source) => sameLayout(source.layout(policy), layout));
}

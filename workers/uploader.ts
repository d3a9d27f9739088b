/**
 * Tensors on their way to a device: split over bindings, uploaded a block of rows at a time, counted.
 *
 * @module
 */
import type { Checkpoint } from "../core/model/checkpoint.ts";
import { LatentmeshError } from "../core/errors.ts";
import { type MatrixSource, readVector, type WeightPolicy } from "../core/model/matrix_source.ts";
import { type MatrixLayout, matrixLayout, type PackedRows, packRows, sameLayout } from "../core/model/packing.ts";
import type { Device, DeviceBuffer } from "../kernels/device.ts";
import { WeightMaker } from "./weight_maker.ts";
import type { DeviceMatrix, MatrixPart } from "./weights.ts";

/** Host bytes that may wait for the device. */
const UNSETTLED_BYTES = 64 << 20;

/** Uploads one checkpoint's tensors. */
export class Uploader {
  readonly dry: boolean;
  /** Bytes uploaded so far. */
  bytes = 0;
  readonly #device: Device;
  readonly #checkpoint: Checkpoint;
  readonly #policy: WeightPolicy;
  readonly #onStored: (bytes: number) => void;
  #storedBytes = 0;
  #unsettled = 0;
  /** Makes weights that nobody stored where they lie; null: they are read. */
  readonly #maker: WeightMaker | null;
  /** Stands for the scales of formats that have none. */
  readonly #noScales: DeviceBuffer;

  /**
   * @param policy what is done to linear weights unless a call says otherwise
   * @param options `dry`: allocate, but read and write nothing; `onStored`: called with how many bytes of the file have been read for tensors on the device
   */
  constructor(device: Device, checkpoint: Checkpoint, policy: WeightPolicy, options: { readonly dry: boolean; onStored(bytes: number): void }) {
    this.dry = options.dry;
    this.#device = device;
    this.#checkpoint = checkpoint;
    this.#policy = policy;
    this.#onStored = options.onStored;
    this.#maker = checkpoint.seed === null ? null : new WeightMaker(device, checkpoint.seed);
    this.#noScales = device.createBuffer("no scales", 16);
  }

  /** Uploads matrices, each the rows of its sources one after the other. */
  async stack(matrices: readonly (readonly MatrixSource[])[], policy: WeightPolicy = this.#policy): Promise<DeviceMatrix> {
    const layout = this.#commonLayout(matrices.flat(), policy);
    const outputs = matrices[0].reduce((sum, source) => sum + source.rows, 0);
    const single = matrices.length === 1;
    const units = single ? outputs : matrices.length;
    const unitRows = single ? 1 : outputs;
    const label = matrices[0][0].name;
    const parts = this.#allocate(label, layout, units, unitRows);
    if (this.dry) return { layout, outputs, matrices: matrices.length, parts };
    let row = 0;
    for (const source of matrices.flat()) {
      if (this.#maker !== null) {
        await this.#maker.make(layout, parts, { unitRows, row, source });
        row += source.rows;
        this.bytes += source.rows * (layout.rowBytes + layout.scaleRowBytes);
        await this.advance(source.rows * source.storedRowBytes, 0);
        continue;
      }
      for await (const block of source.blocks(policy)) {
        this.#upload(layout, parts, unitRows, row, block);
        row += block.rows;
        await this.advance(block.rows * source.storedRowBytes, block.data.byteLength + block.scales.byteLength);
      }
    }
    // What is read is on its way already.
    if (this.#maker !== null) this.#device.submit();
    return { layout, outputs, matrices: matrices.length, parts };
  }

  #commonLayout(sources: readonly MatrixSource[], policy: WeightPolicy): MatrixLayout {
    const layout = sources[0].layout(policy);
    const other = sources.find((source) => !sameLayout(source.layout(policy), layout));
    if (other !== undefined) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load model: ${sources[0].name} and ${other.name} are stored in different formats`);
    }
    return layout;
  }

  /** Buffers for `units` of `unitRows` rows, as many units in each as one binding allows. */
  #allocate(label: string, layout: MatrixLayout, units: number, unitRows: number): MatrixPart[] {
    const { maxBindingBytes, maxBufferBytes } = this.#device.limits;
    const perPart = Math.floor(Math.min(maxBindingBytes, maxBufferBytes) / (layout.rowBytes * unitRows));
    if (perPart === 0) throw new LatentmeshError("out_of_memory", `${label} does not fit one binding of ${maxBindingBytes} bytes on this device`);
    const parts: MatrixPart[] = [];
    for (let first = 0; first < units; first += perPart) {
      const count = Math.min(perPart, units - first);
      const rows = count * unitRows;
      parts.push({
        first,
        count,
        weights: this.#device.createBuffer(label, rows * layout.rowBytes),
        scales: layout.scaleRowBytes === 0 ? this.#noScales : this.#device.createBuffer(`${label} scales`, rows * layout.scaleRowBytes),
      });
    }
    return parts;
  }

  /** Writes consecutive rows, which may span parts. */
  #upload(layout: MatrixLayout, parts: readonly MatrixPart[], unitRows: number, row: number, block: PackedRows): void {
    const { rows, data, scales } = block;
    for (const part of parts) {
      const first = part.first * unitRows;
      const begin = Math.max(row, first);
      const end = Math.min(row + rows, first + part.count * unitRows);
      if (begin >= end) continue;
      const write = (buffer: DeviceBuffer, bytes: Uint8Array<ArrayBuffer>, perRow: number) => {
        if (perRow > 0) this.#device.write(buffer, (begin - first) * perRow, bytes.subarray((begin - row) * perRow, (end - row) * perRow));
      };
      write(part.weights, data, layout.rowBytes);
      write(part.scales, scales, layout.scaleRowBytes);
    }
  }

  /** Uploads a small tensor as float32. */
  async vector(name: string, length: number): Promise<DeviceBuffer> {
    const buffer = this.#device.createBuffer(name, length * 4);
    if (this.dry) return buffer;
    const values = await readVector(this.#checkpoint, name, length);
    this.#device.write(buffer, 0, values);
    await this.advance(this.#checkpoint.info(name).bytes, values.byteLength);
    return buffer;
  }

  /** Counts; waits for the device now and then, because writes stay in host memory until a submission carries them over. */
  async advance(storedBytes: number, uploadedBytes: number): Promise<void> {
    this.#storedBytes += storedBytes;
    this.#unsettled += uploadedBytes;
    this.bytes += uploadedBytes;
    if (this.#unsettled > UNSETTLED_BYTES) {
      await this.#device.settle();
      this.#unsettled = 0;
    }
    this.#onStored(this.#storedBytes);
  }

  /** Uploads a matrix that was computed on the host; in float32 unless weights are quantised. */
  async hostMatrix(label: string, rows: number, columns: number, compute: () => Promise<Float32Array>): Promise<DeviceMatrix> {
    const layout = matrixLayout(this.#policy === "keep" ? "f32" : this.#policy, columns);
    const parts = this.#allocate(label, layout, rows, 1);
    if (!this.dry) this.#upload(layout, parts, 1, 0, packRows(layout, await compute(), rows));
    return { layout, outputs: rows, matrices: 1, parts };
  }
}

/**
 * Projections under another basis of the latent, W' = W diag(gain) A⁻ᵀ, computed on the device: for V2-Lite they are 58 GFLOP, half a minute of a host.
 *
 * @module
 */
import { basisChange } from "../../kernels/basis_change/basis_change.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import { roundUp } from "../../core/numeric.ts";

/** What matrices are multiplied at most. */
export interface BasisChangeSizes {
  /** Rows of W. */
  readonly rows: number;
  /** d_c, its columns. */
  readonly width: number;
  /** Columns that are kept of W'. */
  readonly columns: number;
}

/** Takes the products. */
export interface BasisChangeTarget {
  readonly buffer: DeviceBuffer;
  /** Values from one row to the next; divisible by 8 in f16, where the last ones of a row that no column is for become 0. */
  readonly stride: number;
  readonly format: "f32" | "f16";
}

/** Values of a row of 16 bytes, which all rows are whole multiples of. */
const PADDED = 8;

/** Multiplies one matrix after the other. */
export class BasisChange {
  readonly #device: Device;
  readonly #width: number;
  /** W: [rows, width] */
  readonly #matrix: DeviceBuffer;
  /** [columns, width] */
  readonly #factors: DeviceBuffer;
  /** Products before they are rounded, in rows as long as those of the target. */
  readonly #products: DeviceBuffer;

  constructor(device: Device, { rows, width, columns }: BasisChangeSizes) {
    this.#device = device;
    this.#width = width;
    this.#matrix = device.createBuffer("projection before its basis changes", rows * width * 4);
    this.#factors = device.createBuffer("change of basis", columns * width * 4);
    this.#products = device.createBuffer("projection after its basis has changed", rows * roundUp(columns, PADDED) * 4);
  }

  /**
   * Products of every row of a matrix with every row of some factors.
   *
   * @param matrix [rows, width]
   * @param factors [columns, width]
   * @param target takes them; null: they are read back
   * @returns [rows, columns], or null where they are in `target`
   */
  async multiply(
    matrix: Float32Array<ArrayBuffer>,
    factors: Float32Array<ArrayBuffer>,
    target: BasisChangeTarget | null,
  ): Promise<Float32Array<ArrayBuffer> | null> {
    const device = this.#device;
    const [rows, columns] = [matrix.length / this.#width, factors.length / this.#width];
    const direct = target?.format === "f32";
    const [y, stride] = direct ? [target.buffer, target.stride] : [this.#products, target?.stride ?? columns];
    const params = { rows, columns, stride };
    const kernel = await device.compile(basisChange, { width: this.#width });
    device.write(this.#matrix, 0, matrix);
    device.write(this.#factors, 0, factors);
    // Products of other sizes may lie where rows are longer than there are columns.
    if (!direct && stride > columns) device.write(y, 0, new Float32Array(rows * stride));
    device.run(kernel.bind({ matrix: this.#matrix, factors: this.#factors, y }, params), params);
    if (target !== null) {
      if (!direct) await this.#round(rows, target);
      device.submit();
      return null;
    }
    const bytes = rows * columns * 4;
    const readback = await device.createReadback("projection", bytes);
    device.read(readback, y, 0, bytes);
    device.submit();
    const values = new Float32Array((await readback.take(new Uint8Array(bytes))).buffer);
    readback.destroy();
    return values;
  }

  async #round(rows: number, { buffer, stride }: BasisChangeTarget): Promise<void> {
    const kernel = await this.#device.compile(roundInput, { columns: stride, inputStride: stride, input: "plain" });
    this.#device.run(kernel.bind({ x: this.#products, y: buffer }, { rows }), { rows });
  }

  /** Frees what is multiplied. */
  destroy(): void {
    for (const buffer of [this.#matrix, this.#factors, this.#products]) buffer.destroy();
  }
}

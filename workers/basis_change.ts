/**
 * Projections under another basis of the latent, W' = W diag(gain) A⁻ᵀ, computed on the device: for V2-Lite they are 58 GFLOP, half a minute of a host.
 *
 * @module
 */
import { basisChange } from "../kernels/basis_change/basis_change.ts";
import type { Device, DeviceBuffer } from "../kernels/device.ts";

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
  /** Floats from one row to the next. */
  readonly stride: number;
}

/** Multiplies one matrix after the other. */
export class BasisChange {
  readonly #device: Device;
  readonly #width: number;
  /** W: [rows, width] */
  readonly #matrix: DeviceBuffer;
  /** [columns, width] */
  readonly #factors: DeviceBuffer;

  constructor(device: Device, { rows, width, columns }: BasisChangeSizes) {
    this.#device = device;
    this.#width = width;
    this.#matrix = device.createBuffer("projection before its basis changes", rows * width * 4);
    this.#factors = device.createBuffer("change of basis", columns * width * 4);
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
    const bytes = rows * columns * 4;
    const { buffer: y, stride } = target ?? { buffer: device.createBuffer("projection after its basis has changed", bytes), stride: columns };
    const params = { rows, columns, stride };
    const kernel = await device.compile(basisChange, { width: this.#width });
    device.write(this.#matrix, 0, matrix);
    device.write(this.#factors, 0, factors);
    device.run(kernel.bind({ matrix: this.#matrix, factors: this.#factors, y }, params), params);
    if (target !== null) {
      device.submit();
      return null;
    }
    const readback = await device.createReadback("projection", bytes);
    device.read(readback, y, 0, bytes);
    device.submit();
    const values = new Float32Array((await readback.take(new Uint8Array(bytes))).buffer);
    readback.destroy();
    y.destroy();
    return values;
  }

  /** Frees what is multiplied. */
  destroy(): void {
    for (const buffer of [this.#matrix, this.#factors]) buffer.destroy();
  }
}

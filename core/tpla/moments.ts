/**
 * Second moments, summed in float64.
 *
 * @module
 */

/** Σ w·x xᵀ over vectors x. */
export class MomentSum {
  readonly width: number;
  /** Upper triangle, row-major [width, width]. */
  readonly #upper: Float64Array;
  #count = 0;

  constructor(width: number) {
    this.width = width;
    this.#upper = new Float64Array(width * width);
  }

  /** Adds `weight · x xᵀ` for the first `width` values of `x`. */
  add(x: Float32Array, weight: number): void {
    const { width } = this;
    const upper = this.#upper;
    for (let i = 0; i < width; i++) {
      const factor = x[i] * weight;
      for (let j = i, at = i * width; j < width; j++) upper[at + j] += factor * x[j];
    }
    this.#count++;
  }

  /** The whole symmetric matrix. */
  sum(): Float64Array {
    const { width } = this;
    return this.#upper.map((_, at) => {
      const [i, j] = [Math.floor(at / width), at % width];
      return this.#upper[i <= j ? at : j * width + i];
    });
  }

  /** The same divided by the number of vectors. */
  mean(): Float64Array {
    return this.sum().map((value) => value / this.#count);
  }
}

/** into += Wᵀ S W for W [rows, columns] and symmetric S [rows, rows]; into is [columns, columns]. */
export function addSandwich(into: Float64Array, W: Float32Array, S: Float64Array, rows: number, columns: number): void {
  const product = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    product.fill(0);
    for (let k = 0; k < rows; k++) {
      const factor = S[i * rows + k];
      for (let c = 0, at = k * columns; c < columns; c++) product[c] += factor * W[at + c];
    }
    for (let c = 0; c < columns; c++) {
      const factor = W[i * columns + c];
      for (let j = 0, at = c * columns; j < columns; j++) into[at + j] += factor * product[j];
    }
  }
}

/**
 * Projections under another basis of the latent, once for each layer while weights are loaded. A plain kernel: it is compiled in no time, and has all the time it
 * takes.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { productsOf } from "../linear/wasm.ts";
import source from "./basis_change.wgsl" with { type: "text" };

/** Rows and columns of a tile. */
const TILE = 16;

/** y[row, column] = Σ_j W[row, j] · factors[column, j]: [rows, columns] in rows of `stride` floats, W [rows, width], factors [columns, width]. */
export const basisChange: Kernel<{ readonly width: number }, "matrix" | "factors" | "y", "rows" | "columns" | "stride"> = {
  name: "basis_change",
  bindings: { matrix: "read", factors: "read", y: "read_write" },
  params: ["rows", "columns", "stride"],
  wgsl: ({ width }) => constants({ WIDTH: width, TILE }) + source,
  workgroups: (_, { rows, columns }) => [ceilDiv(columns, TILE), ceilDiv(rows, TILE), 1],
  sizes: ({ width }, { rows, columns, stride }) => ({ matrix: rows * width * 4, factors: columns * width * 4, y: rows * stride * 4 }),
  // Rows of other lengths are no model's.
  wasm: ({ width }) =>
    width % 4 !== 0 ? null : (binding) => {
      const { matrix: x, factors: weights, y } = binding.at;
      const run = productsOf(binding, { weights, x, y, columns: width });
      return ({ rows, columns, stride }) => run({ rows, outputs: columns, stride });
    },
  reference({ width }, { matrix, factors, y }, { rows, columns, stride }) {
    for (let row = 0; row < rows; row++) {
      const weights = matrix.f32.subarray(row * width, (row + 1) * width);
      for (let column = 0; column < columns; column++) y.f32[row * stride + column] = dot(weights, factors.f32, column * width);
    }
  },
};

function dot(weights: Float32Array, factors: Float32Array, at: number): number {
  let [s0, s1] = [0, 0];
  let j = 0;
  for (; j + 1 < weights.length; j += 2) {
    s0 += weights[j] * factors[at + j];
    s1 += weights[j + 1] * factors[at + j + 1];
  }
  return j < weights.length ? s0 + s1 + weights[j] * factors[at + j] : s0 + s1;
}

import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Matrix } from "ml-matrix";
import { LatentmeshError } from "../../../core/errors.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import type { BasisKind, LayerStatistics } from "../../../core/tpla/layer_basis.ts";
import { relativeError } from "../../support/compare.ts";
import { Random } from "../../../bench/support/random.ts";

/** Second moments with spectra that fall by several orders of magnitude, as those of latents do. */
function statistics(width: number, rank = width): LayerStatistics {
  const random = new Random();
  const moment = (decay: number) => {
    const factor = Matrix.from1DArray(width, rank, random.normals(width * rank)).mul(1);
    for (let column = 0; column < rank; column++) factor.mulColumn(column, Math.exp(-decay * column));
    return Float64Array.from(factor.mmul(factor.transpose()).to1DArray());
  };
  return { latents: moment(0.2), queries: moment(0.3), values: moment(0.1) };
}

const matrix = (values: Float64Array, width: number) => Matrix.from1DArray(width, width, values);
const identityError = (product: Matrix) => relativeError(product.to1DArray(), Matrix.eye(product.rows).to1DArray());

describe("chooseBasis", () => {
  for (const kind of ["identity", "hadamard", "pca", "balanced"] as BasisKind[]) {
    for (const width of [24, 32, 61]) {
      it(`${kind} of ${width}: transform and inverse undo each other`, () => {
        const { transform, inverse } = chooseBasis(kind, width, statistics(width));
        assert(identityError(matrix(transform, width).mmul(matrix(inverse, width))) < 1e-6, "transform · inverse is the identity");
      });
    }
  }

  it("hadamard spreads every direction over its whole block, with random signs", () => {
    const { transform } = chooseBasis("hadamard", 32, null);
    assert(transform.every((value) => Math.abs(Math.abs(value) - 1 / Math.sqrt(32)) < 1e-12), "equal magnitudes");
    const blocks = chooseBasis("hadamard", 24, null).transform;
    assertEquals(blocks.filter((value) => value !== 0).length, 24 * 8);
    assert(chooseBasis("hadamard", 32, null, { lambda: 0, seed: 2 }).transform.join() !== transform.join(), "another seed");
  });

  it("pca makes latents uncorrelated, largest variance first", () => {
    const width = 20;
    const { latents } = statistics(width);
    const { transform, eigenvalues } = chooseBasis("pca", width, statistics(width));
    const A = matrix(transform, width);
    const moments = A.mmul(matrix(latents, width)).mmul(A.transpose());
    assert(relativeError(moments.to1DArray(), Matrix.diag([...eigenvalues]).to1DArray()) < 1e-9, "diagonal");
    assert(eigenvalues.every((value, i) => i === 0 || value <= eigenvalues[i - 1]), "descending");
  });

  it("balanced makes the moments of latents and of weighted queries and values the same diagonal matrix", () => {
    const width = 20;
    const stats = statistics(width);
    const lambda = 0.05;
    const { transform, inverse, eigenvalues } = chooseBasis("balanced", width, stats, { lambda, seed: 1 });
    const [C, M, N] = [stats.latents, stats.queries, stats.values].map((values) => matrix(values, width));
    const weights = Matrix.add(Matrix.mul(M, (1 - lambda) / M.mmul(C).trace()), Matrix.mul(N, lambda / N.mmul(C).trace()));
    const [A, B] = [matrix(transform, width), matrix(inverse, width)];
    const expected = Matrix.diag(Array.from(eigenvalues, Math.sqrt)).to1DArray();
    assert(relativeError(A.mmul(C).mmul(A.transpose()).to1DArray(), expected) < 1e-6, "latents");
    assert(relativeError(B.transpose().mmul(weights).mmul(B).to1DArray(), expected) < 1e-6, "weights");
  });

  it("survives directions that never occurred", () => {
    const { transform, inverse } = chooseBasis("balanced", 24, statistics(24, 7));
    assert([...transform, ...inverse].every(Number.isFinite), "finite");
  });

  it("says what to do when statistics are missing", () => {
    assertThrows(() => chooseBasis("balanced", 8, null), LatentmeshError, "deno task calibrate");
  });
});

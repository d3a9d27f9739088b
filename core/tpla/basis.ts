/**
 * Bases of the latent space. A change of basis costs nothing: with c' = Aᵀ ĉ, W_UK' = W_UK A⁻ᵀ and W_UV' = W_UV A⁻ᵀ every score and every value stays what it
 * was. It decides what a rank of a decode group loses that keeps only some of the directions (TPLA, arXiv 2508.15881, and beyond it `balanced`).
 *
 * @module
 */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { LatentmeshError } from "../errors.ts";
import { BASIS_DEFAULTS, type BasisKind, type BasisOptions, fixedBasis, type LayerBasis, type LayerStatistics } from "./layer_basis.ts";
import type { CalibratedBasis } from "./basis_file.ts";

/** Eigenvalues below this fraction of the largest are raised to it: what was never seen must not be divided by. */
const CLAMP = 1e-10;

/**
 * Chooses the basis of one layer.
 *
 * @param width d_c
 * @param statistics needed for `pca` and `balanced`
 * @throws {LatentmeshError} `invalid_config` if statistics are needed and missing
 */
export function chooseBasis(kind: BasisKind, width: number, statistics: LayerStatistics | null, options: BasisOptions = BASIS_DEFAULTS): LayerBasis {
  switch (kind) {
    case "identity":
    case "hadamard":
      return fixedBasis(kind, width, options.seed);
    case "pca": {
      const { vectors, values } = symmetricEigen(matrixOf(needed(kind, statistics).latents, width));
      return orthogonal(vectors, values);
    }
    case "balanced":
      return balanced(needed(kind, statistics), width, options.lambda);
    default:
      return kind satisfies never;
  }
}

/** The basis of every layer for a choice of kind and λ. */
export function layerBases(calibrated: CalibratedBasis, kind: BasisKind, options: BasisOptions = BASIS_DEFAULTS): readonly LayerBasis[] {
  if (kind === "balanced" && options.lambda === BASIS_DEFAULTS.lambda) return calibrated.defaults;
  return calibrated.statistics.map((statistics, layer) => {
    try {
      const basis = chooseBasis(kind, calibrated.width, statistics, options);
      if ([basis.transform, basis.inverse].every((matrix) => matrix.every(Number.isFinite))) return basis;
    } catch {
      // Of moments that are none, decompositions end in all kinds of errors.
    }
    throw new LatentmeshError("invalid_checkpoint", `The calibration of layer ${layer} gives no ${kind} basis; run "deno task calibrate" again`);
  });
}

/**
 * Balanced truncation of the absorbed queries against the latents: in this basis both second moments are the same diagonal matrix, so the first directions
 * carry the logits of every head. A small weight λ does the same for the values.
 */
function balanced({ latents, queries, values }: LayerStatistics, width: number, lambda: number): LayerBasis {
  const C = matrixOf(latents, width);
  const traceWith = (moments: Float64Array) => dot(moments, latents);
  const weights = Matrix.add(
    matrixOf(queries, width).mul((1 - lambda) / traceWith(queries)),
    matrixOf(values, width).mul(lambda / traceWith(values)),
  );
  const spectrum = symmetricEigen(C);
  const root = spectralFunction(spectrum, Math.sqrt);
  const inverseRoot = spectralFunction(spectrum, (value) => 1 / Math.sqrt(value));
  const { vectors, values: eigenvalues } = symmetricEigen(root.mmul(weights).mmul(root));
  const scale = (power: number) => Matrix.diag(Array.from(eigenvalues, (value) => value ** power));
  return {
    transform: flat(scale(0.25).mmul(vectors.transpose()).mmul(inverseRoot)),
    inverse: flat(root.mmul(vectors).mmul(scale(-0.25))),
    eigenvalues,
  };
}

/** A basis whose A is orthogonal: its own inverse transpose. */
function orthogonal(A: Matrix, eigenvalues: Float64Array): LayerBasis {
  return { transform: flat(A.transpose()), inverse: flat(A), eigenvalues };
}

interface Spectrum {
  /** Columns are eigenvectors. */
  readonly vectors: Matrix;
  /** Descending, clamped. */
  readonly values: Float64Array;
}

function symmetricEigen(matrix: Matrix): Spectrum {
  const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  const order = realEigenvalues.map((_, i) => i).sort((a, b) => realEigenvalues[b] - realEigenvalues[a]);
  const least = realEigenvalues[order[0]] * CLAMP;
  return {
    vectors: eigenvectorMatrix.subMatrixColumn(order),
    values: Float64Array.from(order, (i) => Math.max(least, realEigenvalues[i])),
  };
}

/** f of a symmetric matrix: V f(Λ) Vᵀ. */
function spectralFunction({ vectors, values }: Spectrum, f: (value: number) => number): Matrix {
  return vectors.mmul(Matrix.diag(Array.from(values, f))).mmul(vectors.transpose());
}

function matrixOf(values: Float64Array, width: number): Matrix {
  return Matrix.from1DArray(width, width, values);
}

function flat(matrix: Matrix): Float64Array {
  return Float64Array.from(matrix.to1DArray());
}

/** Tr(A B) of symmetric matrices. */
function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function needed(kind: BasisKind, statistics: LayerStatistics | null): LayerStatistics {
  if (statistics === null) {
    throw new LatentmeshError("invalid_config", `The ${kind} basis needs calibration statistics; run "deno task calibrate" for this model`, {
      param: "decode.basis",
    });
  }
  return statistics;
}

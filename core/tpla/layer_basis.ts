/**
 * What a basis of the latent space is, and those that depend on no model. The others are made from a calibration, by `basis.ts` and the eigenvalues it needs, which
 * workers seldom do: it is not loaded with this.
 *
 * @module
 */
import { randomBits } from "../random.ts";

/** How a basis is chosen. */
export type BasisKind = "identity" | "hadamard" | "pca" | "balanced";

/** Second moments of one layer over a calibration text; symmetric [d, d], row-major. */
export interface LayerStatistics {
  /** C = E[ĉ ĉᵀ] */
  readonly latents: Float64Array;
  /** M = Σ_h W_UK[h]ᵀ E[q_n q_nᵀ] W_UK[h]: second moment of the absorbed queries. */
  readonly queries: Float64Array;
  /** N = Σ_h G_hᵀ G_h with G_h = W_O[:, h] W_UV[h]: what a direction's value does to the residual stream. */
  readonly values: Float64Array;
}

/** One layer's basis; both matrices [d, d], row-major. */
export interface LayerBasis {
  /** Aᵀ: c' = Aᵀ ĉ. */
  readonly transform: Float64Array;
  /** A⁻ᵀ: W' = W A⁻ᵀ. */
  readonly inverse: Float64Array;
  /** Importance of each direction, descending; empty for bases that do not order them. */
  readonly eigenvalues: Float64Array;
}

/** Options of {@link chooseBasis}. */
export interface BasisOptions {
  /** `balanced`: weight of the values against the logits, 0 … 1. */
  readonly lambda: number;
  /** `hadamard`: seed of the random signs. */
  readonly seed: number;
}

/** The defaults. */
export const BASIS_DEFAULTS: BasisOptions = { lambda: 0.05, seed: 1 };

/** Bases that need no calibration. */
export type FixedBasisKind = Extract<BasisKind, "identity" | "hadamard">;

/**
 * A basis that depends on no model.
 *
 * @param width d_c
 * @param seed `hadamard`: of the random signs
 */
export function fixedBasis(kind: FixedBasisKind, width: number, seed: number = BASIS_DEFAULTS.seed): LayerBasis {
  const inverse = kind === "identity" ? identity(width) : signedHadamard(width, seed);
  // Orthogonal: its own inverse transpose.
  const transform = inverse.map((_, i) => inverse[(i % width) * width + Math.floor(i / width)]);
  return { transform, inverse, eigenvalues: new Float64Array() };
}

function identity(width: number): Float64Array {
  const matrix = new Float64Array(width * width);
  for (let i = 0; i < width; i++) matrix[i * width + i] = 1;
  return matrix;
}

/** D·H/√b with D random signs and H Sylvester's matrix of the largest power of two that divides the width, block by block. */
function signedHadamard(width: number, seed: number): Float64Array {
  const block = width & -width;
  const matrix = new Float64Array(width * width);
  for (let row = 0; row < width; row++) {
    const sign = randomBits(seed, 0, row) & 1 ? 1 : -1;
    const start = row - (row % block);
    for (let column = 0; column < block; column++) {
      matrix[row * width + start + column] = (sign * (oddParity((row % block) & column) ? -1 : 1)) / Math.sqrt(block);
    }
  }
  return matrix;
}

function oddParity(bits: number): boolean {
  let odd = false;
  for (let rest = bits; rest !== 0; rest &= rest - 1) odd = !odd;
  return odd;
}

/**
 * The statistics of one layer: second moments of latents and queries, and with the layer's weights its basis.
 *
 * @module
 */
import { chooseBasis } from "../../../core/tpla/basis.ts";
import type { LayerBasis, LayerStatistics } from "../../../core/tpla/layer_basis.ts";
import { addSandwich, MomentSum } from "../../../core/tpla/moments.ts";

/** Sizes of a layer's attention. */
export interface AttentionSizes {
  readonly hiddenSize: number;
  readonly heads: number;
  readonly latentWidth: number;
  readonly ropeWidth: number;
  readonly nopeWidth: number;
  readonly valueWidth: number;
  readonly latentNormEps: number;
}

/** Weights that a basis depends on. */
export interface AttentionWeights {
  /** Of the norm of latents: [d_c]. */
  readonly gain: Float32Array<ArrayBuffer>;
  /** W_UK and W_UV of each head in turn: [heads · (nope + value), d_c]. */
  readonly up: Float32Array<ArrayBuffer>;
  /** W_O: [hidden, heads · value]. */
  readonly output: Float32Array<ArrayBuffer>;
}

/** What a layer comes to. */
export interface LayerResult {
  readonly statistics: LayerStatistics;
  readonly basis: LayerBasis;
}

/** E[ĉ ĉᵀ], and E[q_n q_nᵀ] of every head. */
export class LayerMoments {
  readonly #sizes: AttentionSizes;
  readonly #latents: MomentSum;
  readonly #queries: readonly MomentSum[];

  constructor(sizes: AttentionSizes) {
    this.#sizes = sizes;
    this.#latents = new MomentSum(sizes.latentWidth);
    this.#queries = Array.from({ length: sizes.heads }, () => new MomentSum(sizes.nopeWidth));
  }

  /** @param kv [rows, d_c + d_r] before the norm @param q [rows, heads, nope + rope] */
  add(kv: Float32Array, q: Float32Array, rows: number): void {
    const { latentWidth, ropeWidth, heads, nopeWidth, latentNormEps } = this.#sizes;
    const queryWidth = nopeWidth + ropeWidth;
    for (let row = 0; row < rows; row++) {
      const latent = kv.subarray(row * (latentWidth + ropeWidth), row * (latentWidth + ropeWidth) + latentWidth);
      const squares = latent.reduce((sum, value) => sum + value * value, 0);
      this.#latents.add(latent, 1 / (squares / latentWidth + latentNormEps));
      for (let head = 0; head < heads; head++) this.#queries[head].add(q.subarray((row * heads + head) * queryWidth), 1);
    }
  }

  /** C, M and N, and the default basis. Norm gains belong to W_UK and W_UV here: latents are collected without them. @param weights which it changes */
  finish({ gain, up, output }: AttentionWeights): LayerResult {
    const { hiddenSize: D, heads, latentWidth, nopeWidth, valueWidth } = this.#sizes;
    const perHead = nopeWidth + valueWidth;
    for (let i = 0; i < up.length; i++) up[i] *= gain[i % latentWidth];
    const queries = new Float64Array(latentWidth ** 2);
    const values = new Float64Array(latentWidth ** 2);
    for (let head = 0; head < heads; head++) {
      const rows = up.subarray(head * perHead * latentWidth, (head + 1) * perHead * latentWidth);
      addSandwich(queries, rows.subarray(0, nopeWidth * latentWidth), this.#queries[head].mean(), nopeWidth, latentWidth);
      const outputMoment = new MomentSum(valueWidth);
      for (let d = 0; d < D; d++) outputMoment.add(output.subarray((d * heads + head) * valueWidth), 1);
      addSandwich(values, rows.subarray(nopeWidth * latentWidth), outputMoment.sum(), valueWidth, latentWidth);
    }
    const statistics = { latents: this.#latents.mean(), queries, values };
    return { statistics, basis: chooseBasis("balanced", latentWidth, statistics) };
  }
}

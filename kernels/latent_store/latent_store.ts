/**
 * Normalises a token's latent, changes its basis, and writes it with the rotated key into the paged cache.
 *
 * @module
 */
import { constants, type Kernel } from "../contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, ropeOffset, writeSlot } from "../latent_cache/layout.ts";
import { inverseRmsWgsl, rmsScale } from "../rms_norm/rms_norm.ts";
import dense from "./dense.wgsl" with { type: "text" };
import diagonal from "./diagonal.wgsl" with { type: "text" };
import source from "./latent_store.wgsl" with { type: "text" };
import sliced from "./sliced.wgsl" with { type: "text" };
import storeF16 from "./store_f16.wgsl" with { type: "text" };
import storeF32 from "./store_f32.wgsl" with { type: "text" };

/** Configuration of {@link latentStore}. */
export interface LatentStoreConfig {
  readonly cache: CacheConfig;
  /** d_c */
  readonly latentWidth: number;
  /** Floats from one row of x to the next; a row is the latent (d_c) and the rotated key (d_r). */
  readonly rowStride: number;
  readonly eps: number;
  /**
   * What `basis` holds. `diagonal`: [d_c], c' = basis ∘ ĉ; with the norm's gain as basis, the key and value projections stay as they are stored.
   * `dense`: the kept rows of Aᵀ, [keyWidth, d_c], c' = basis · ĉ. `sliced`: the same rows, but c' = s / √(Σs² / sliced + eps) with s = basis · x: the approximate
   * norm of the TPLA paper, which sees only the kept columns and knows what share of all squares they have on average.
   */
  readonly basis: "diagonal" | "dense" | { readonly sliced: number };
  /** Slots of the cache. */
  readonly slots: number;
}

const TRANSFORMS = { diagonal, dense } as const;

function slicedWidth({ basis }: LatentStoreConfig): number | null {
  return typeof basis === "string" ? null : basis.sliced;
}

function normaliseSlice(values: Float64Array, width: number, eps: number): void {
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  const scale = 1 / Math.sqrt(squares / width + eps);
  values.forEach((value, i) => values[i] = value * scale);
}

/** ĉ = x / √(mean(x²) + eps) → cache[slot of row] = (basis · ĉ, rotated key), rounded to cache precision. */
export const latentStore: Kernel<LatentStoreConfig, "x" | "basis" | "step" | "cache", "rows"> = {
  name: "latent_store",
  bindings: { x: "read", basis: "read", step: "read", cache: "read_write" },
  params: ["rows"],
  wgsl: (config) =>
    constants(
      { LATENT: config.latentWidth, KEY_WIDTH: config.cache.keyWidth, ROW_STRIDE: config.rowStride },
      { EPS: config.eps, SLICED_WIDTH: slicedWidth(config) ?? 0 },
    ) +
    inverseRmsWgsl() + cacheWgsl(config.cache) + (config.cache.dtype === "f16" ? storeF16 : storeF32) +
    `const SLICED = ${slicedWidth(config) !== null};\n` + (typeof config.basis === "string" ? TRANSFORMS[config.basis] : sliced) + source,
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: (config, { rows }) => ({
    x: rows === 0 ? 0 : ((rows - 1) * config.rowStride + config.latentWidth + config.cache.ropeWidth) * 4,
    basis: config.latentWidth * (config.basis === "diagonal" ? 1 : config.cache.keyWidth) * 4,
    step: rows * 16,
    cache: config.slots * cacheTokenBytes(config.cache),
  }),
  reference(config, { x, basis, step, cache }, { rows }) {
    const { latentWidth, rowStride } = config;
    const { keyWidth, ropeWidth } = config.cache;
    const width = slicedWidth(config);
    const values = new Float64Array(cacheWidth(config.cache));
    for (let row = 0; row < rows; row++) {
      const from = row * rowStride;
      const scale = width !== null ? 1 : rmsScale(x.f32, from, latentWidth, config.eps);
      for (let k = 0; k < keyWidth; k++) {
        if (config.basis === "diagonal") {
          values[k] = x.f32[from + k] * scale * basis.f32[k];
          continue;
        }
        let sum = 0;
        for (let j = 0; j < latentWidth; j++) sum += basis.f32[k * latentWidth + j] * x.f32[from + j];
        values[k] = sum * scale;
      }
      if (width !== null) normaliseSlice(values.subarray(0, keyWidth), width, config.eps);
      for (let k = 0; k < ropeWidth; k++) values[ropeOffset(config.cache) + k] = x.f32[from + latentWidth + k];
      writeSlot(config.cache, cache, step.u32[row * 4 + 2], values);
    }
  },
};

/**
 * Precision in which latents are cached.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";

/**
 * Precision of cached latents. `q8`: eight bits a value, with one scale for up to {@link SCALE_GROUP} of them, and rotated keys in f16: 57 % of the bytes of `f16` for
 * latents of 512 values.
 */
export type CacheDtype = "f16" | "f32" | "q8";

/** All of them. */
export const CACHE_DTYPES = ["f16", "f32", "q8"] as const satisfies readonly CacheDtype[];

/**
 * Precision of cached index keys (sparse attention). `fp8`: eight bits a value (E4M3), and one scale for a key, a power of two, as DeepSeek's inference code has them:
 * 56 % of the bytes of `f16` for keys of 128 values. Keys that are rounded so may choose other tokens.
 */
export type IndexDtype = "f16" | "f32" | "fp8";

/** All of them. */
export const INDEX_DTYPES = ["f16", "f32", "fp8"] as const satisfies readonly IndexDtype[];

/** Precision of index keys beside latents of another, unless one is asked for: in eight bits nothing is, but latents. */
export function indexDtypeFor(latents: CacheDtype, asked?: IndexDtype): IndexDtype {
  return asked ?? (latents === "f32" ? "f32" : "f16");
}

/**
 * Refuses a precision of index keys that is asked for where there are none.
 *
 * @throws {LatentmeshError} `invalid_config`
 */
export function refuseWithoutIndexKeys(asked: IndexDtype | undefined, { indexer }: { readonly indexer: unknown }): void {
  if (asked === undefined || indexer !== null) return;
  throw new LatentmeshError(
    "invalid_config",
    "Cannot use cache.indexDtype: the model attends to all tokens, and caches no index keys; leave it out",
    {
      param: "cache.indexDtype",
    },
  );
}

/** Values of a `q8` latent that share a scale, at most. */
export const SCALE_GROUP = 128;

/** Bytes of such a scale. */
export const SCALE_BYTES = 4;

/** Widths of the parts of `width` values that share a scale: all of {@link SCALE_GROUP} but the last, which has what is left. */
export function scaleGroupsOf(width: number): number[] {
  const groups = new Array(Math.floor(width / SCALE_GROUP)).fill(SCALE_GROUP);
  return width % SCALE_GROUP === 0 ? groups : [...groups, width % SCALE_GROUP];
}

/**
 * Precision in which latents are cached.
 *
 * @module
 */

/**
 * Precision of cached latents. `q8`: eight bits a value, with one scale for up to {@link SCALE_GROUP} of them, and rotated keys in f16: 57 % of the bytes of `f16` for
 * latents of 512 values.
 */
export type CacheDtype = "f16" | "f32" | "q8";

/** All of them. */
export const CACHE_DTYPES = ["f16", "f32", "q8"] as const satisfies readonly CacheDtype[];

/** Values of a `q8` latent that share a scale, at most. */
export const SCALE_GROUP = 128;

/** Bytes of such a scale. */
export const SCALE_BYTES = 4;

/** Widths of the parts of `width` values that share a scale: all of {@link SCALE_GROUP} but the last, which has what is left. */
export function scaleGroupsOf(width: number): number[] {
  const groups = new Array(Math.floor(width / SCALE_GROUP)).fill(SCALE_GROUP);
  return width % SCALE_GROUP === 0 ? groups : [...groups, width % SCALE_GROUP];
}

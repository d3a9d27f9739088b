/**
 * `--cache-dtype` of benches.
 *
 * @module
 */
import { CACHE_DTYPES, type CacheDtype } from "../../core/cache/cache_dtype.ts";

/** What was asked for, if anything was. @throws {Error} that says what may be */
export function cacheDtypeFlag(text: string | undefined): CacheDtype | undefined {
  const dtype = CACHE_DTYPES.find((dtype) => dtype === text);
  if (text !== undefined && dtype === undefined) throw new Error(`--cache-dtype: "${text}" is none of ${CACHE_DTYPES.join(", ")}`);
  return dtype;
}

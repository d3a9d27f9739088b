/**
 * Whether a tensor that came is the one that was announced, and the one that is expected.
 *
 * @module
 */
import type { CacheDtype, IndexDtype } from "../cache/cache_dtype.ts";
import { LatentmeshError } from "../errors.ts";
import { dtypeBytes } from "./messages.ts";

/** Throws unless dtype × shape, the announced length and the payload agree, and the shape is the expected one. */
export function checkTensor(
  header: { readonly dtype: CacheDtype | IndexDtype; readonly shape: readonly number[]; readonly byteLength: number },
  payload: Uint8Array,
  expected: { readonly dtype: CacheDtype | IndexDtype; readonly shape: readonly number[] },
): void {
  if (header.dtype !== expected.dtype || header.shape.length !== expected.shape.length || header.shape.some((n, i) => n !== expected.shape[i])) {
    const text = ({ dtype, shape }: typeof expected) => `${dtype} [${shape.join(", ")}]`;
    throw new LatentmeshError("protocol", `Cannot use a tensor of ${text(header)} where ${text(expected)} is expected`);
  }
  const bytes = header.shape.reduce((product, n) => product * n, dtypeBytes(header.dtype));
  if (bytes !== header.byteLength || bytes !== payload.byteLength) {
    throw new LatentmeshError(
      "protocol",
      `Cannot use a tensor: its shape needs ${bytes} bytes, it announces ${header.byteLength} and brings ${payload.byteLength}`,
    );
  }
}

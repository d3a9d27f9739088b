/**
 * Small tensors, such as the gains of norms.
 *
 * @module
 */
import { type Checkpoint, type FileRange, readRange, refuseTensor, type StoredDtype } from "./checkpoint.ts";
import { matrixLayout, unpackRow, viewsOf, type WeightFormat } from "./packing.ts";

const FORMATS: Partial<Record<StoredDtype, WeightFormat>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** A small tensor, which is kept in float32. */
export interface StoredVector {
  readonly range: FileRange;
  /** @param stored what was read, at a multiple of 4 bytes in its memory @throws {LatentmeshError} `invalid_checkpoint` if it holds NaN */
  widen(stored: Uint8Array<ArrayBuffer>, into: Float32Array): void;
}

/** @throws {LatentmeshError} `invalid_checkpoint` if the tensor is missing or of another shape or dtype */
export function storedVector(checkpoint: Checkpoint, name: string, length: number): StoredVector {
  const info = checkpoint.info(name);
  const elements = info.shape.reduce((product, dimension) => product * dimension, 1);
  if (elements !== length) refuseTensor(checkpoint, name, `has shape [${info.shape.join(", ")}] where config.json implies ${length} elements`);
  const format = FORMATS[info.dtype];
  if (format === undefined) return refuseTensor(checkpoint, name, `has dtype ${info.dtype}; supported here are ${Object.keys(FORMATS).join(", ")}`);
  return {
    range: checkpoint.range(name),
    widen: (stored, into) => {
      unpackRow(matrixLayout(format, length), viewsOf(stored), viewsOf(stored), 0, into);
      // An expert whose bias is NaN would never be chosen, and nothing else would show it.
      if (into.subarray(0, length).some(Number.isNaN)) refuseTensor(checkpoint, name, "holds NaN");
    },
  };
}

/** Reads a small tensor whole, as float32, times `scale`. @throws {LatentmeshError} `invalid_checkpoint` if it is missing, of another shape or dtype, or holds NaN */
export async function readVector(checkpoint: Checkpoint, name: string, length: number, scale = 1): Promise<Float32Array<ArrayBuffer>> {
  const { range, widen } = storedVector(checkpoint, name, length);
  const values = new Float32Array(length);
  widen(await readRange(range), values);
  return scale === 1 ? values : values.map((value) => value * scale);
}

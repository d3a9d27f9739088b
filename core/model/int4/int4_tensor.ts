/**
 * One matrix of levels of four bits, or of eight, in whichever form it is stored.
 *
 * @module
 */
import type { Checkpoint, FileRange, StoredDtype } from "../checkpoint.ts";
import { refuseTensor } from "../checkpoint.ts";
import type { Scaling } from "../packing.ts";
import type { SafetensorsDtype } from "../safetensors.ts";

/** Rows of levels and scales. */
export interface Int4Rows {
  /** Words of levels from one row to the next, at least ⌈columns / 8⌉, or of eight bits ⌈columns / 4⌉. */
  readonly words: number;
  /** [rows, words]: eight levels a word, or four, the first in its lowest bits. */
  readonly levels: Uint32Array<ArrayBuffer>;
  /** [rows, groups]: the bits of a scale, of 16 bits with the zero point, if there are any, in the upper half; with zero points that are floats, two words each. */
  readonly scales: Uint32Array<ArrayBuffer>;
}

/** A matrix of levels. */
export interface Int4Tensor {
  /** How many bits they have; four where nothing is said. */
  readonly format?: "int4" | "int8";
  /** Columns that share a scale. */
  readonly group: number;
  readonly scaling: Scaling;
  /** Whether rows can be read by themselves; otherwise all of it is. */
  readonly byRows: boolean;
  /** What is read for rows `begin … end`. */
  ranges(begin: number, end: number): FileRange[];
  /**
   * Rows `begin … end`.
   *
   * @param stored what is at their {@link Int4Tensor.ranges}, each at a multiple of 4 bytes in its memory
   * @throws {LatentmeshError} `invalid_checkpoint` if it is not what it is said to be
   */
  rows(stored: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number): Int4Rows;
}

/** A matrix that is to be there, and what is said of it. */
export interface Int4Named {
  readonly checkpoint: Checkpoint;
  /** Without what follows its last dot. */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

const SCALINGS: Partial<Record<StoredDtype, Scaling>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** How scales of a tensor's dtype are stored. @throws {LatentmeshError} `invalid_checkpoint` if that is not supported */
export function scalingOf(checkpoint: Checkpoint, name: string, zeros: boolean): Scaling {
  const { dtype } = checkpoint.info(name);
  const scaling = SCALINGS[dtype];
  if (scaling === undefined) refuseTensor(checkpoint, name, `has dtype ${dtype}; supported are ${Object.keys(SCALINGS).join(", ")}`);
  if (!zeros) return scaling;
  if (scaling !== "f16" && scaling !== "bf16") refuseTensor(checkpoint, name, "has dtype F32 beside zero points; supported are F16 and BF16");
  return `${scaling}-zero`;
}

/** Refuses a tensor that is of another dtype or shape. @throws {LatentmeshError} `invalid_checkpoint` */
export function requireShape(checkpoint: Checkpoint, name: string, shape: readonly number[], dtypes: readonly SafetensorsDtype[]): void {
  const info = checkpoint.info(name);
  if (info.shape.join() === shape.join() && dtypes.some((dtype) => dtype === info.dtype)) return;
  const wanted = `${dtypes.join(" or ")} [${shape.join(", ")}]`;
  refuseTensor(checkpoint, name, `is ${info.dtype} [${info.shape.join(", ")}] where config.json and quantization_config imply ${wanted}`);
}

/** Words of what was read. */
export function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** Numbers of 16 or of 32 bits, as their bits. */
export function bitsOf({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>, scaling: Scaling): Uint16Array | Uint32Array {
  return scaling === "f32" ? new Uint32Array(buffer, byteOffset, byteLength / 4) : new Uint16Array(buffer, byteOffset, byteLength / 2);
}

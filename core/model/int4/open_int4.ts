/**
 * Finds what a checkpoint has of a matrix in four bits.
 *
 * @module
 */
import type { Checkpoint } from "../checkpoint.ts";
import { COMPRESSED_SUFFIX, CompressedTensor } from "./compressed_tensor.ts";
import { INPUT_MAJOR_SUFFIX, InputMajor } from "./input_major.ts";
import type { Int4Spec } from "./int4_spec.ts";
import type { Int4Named, Int4Tensor } from "./int4_tensor.ts";
import { Reordered } from "./reordered.ts";

const WEIGHT = ".weight";

/**
 * A matrix in four bits; null if it is stored otherwise, as those are that a checkpoint's list of exceptions names.
 *
 * @param weight its name, if it were not quantised
 * @throws {LatentmeshError} `invalid_checkpoint` if tensors are missing or do not fit each other
 */
export function openInt4(
  checkpoint: Checkpoint,
  weight: string,
  [rows, columns]: readonly [number, number],
  spec: Int4Spec,
): Int4Tensor | Reordered | null {
  if (!weight.endsWith(WEIGHT) || checkpoint.has(weight)) return null;
  const name = weight.slice(0, -WEIGHT.length);
  const named = { checkpoint, name, rows, columns };
  if (!checkpoint.has(name + (spec.kind === "compressed-tensors" ? COMPRESSED_SUFFIX : INPUT_MAJOR_SUFFIX))) return null;
  const tensor = spec.kind === "compressed-tensors" ? new CompressedTensor(named, spec) : new InputMajor(named, spec);
  const list = reorderedBy(named, spec);
  return list === null ? tensor : new Reordered(named, tensor, list);
}

/** The tensor that says which columns share a scale; null: neighbours do. */
function reorderedBy({ checkpoint, name }: Int4Named, spec: Int4Spec): string | null {
  if (spec.kind === "awq" || !spec.reordered) return null;
  const list = `${name}.${spec.kind === "gptq" ? "g_idx" : "weight_g_idx"}`;
  return spec.kind === "gptq" || checkpoint.has(list) ? list : null;
}

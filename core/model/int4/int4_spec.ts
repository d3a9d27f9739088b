/**
 * Weights of four bits as checkpoints have them: which kinds there are.
 *
 * @module
 */

/** How a checkpoint says that it stores weights of four bits; which tensors are stored so, their names tell. A group of null is a whole row. */
export type Int4Spec =
  | {
    /** `pack-quantized` of compressed-tensors: rows of eight levels a word. */
    readonly kind: "compressed-tensors";
    /** Columns that may share a scale; which of them it is, the number of scales tells. */
    readonly groups: readonly (number | null)[];
    /** Whether all of them, none, or some have zero points. */
    readonly zeros: "all" | "none" | "some";
    /** Whether columns may be in groups by the order of their activations, which they are not by default; of which matrices they are, their tensors tell. */
    readonly reordered?: boolean;
  }
  | {
    /** AutoAWQ's `gemm`: words of eight outputs, in an order of their own. */
    readonly kind: "awq";
    readonly group: number | null;
  }
  | {
    /** AutoGPTQ's and GPTQModel's: words of eight inputs. */
    readonly kind: "gptq";
    readonly group: number | null;
    /** What is added to every stored zero point: 1 in the first version of the format, 0 in the second. */
    readonly zeroOffset: 0 | 1;
    /** Whether columns are in groups by the order of their activations; they are not by default. */
    readonly reordered?: boolean;
  };

/** Least columns that share a scale; null: a row is least. */
export function leastGroup(spec: Int4Spec): number | null {
  const groups = (spec.kind === "compressed-tensors" ? spec.groups : [spec.group]).flatMap((group) => group ?? []);
  return groups.length === 0 ? null : Math.min(...groups);
}

/** Whether some groups have zero points. */
export function hasZeros(spec: Int4Spec): boolean {
  return spec.kind !== "compressed-tensors" || spec.zeros !== "none";
}

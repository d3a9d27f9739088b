/**
 * Takes tokens that a grammar forbids out of the running, before candidates are chosen.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./mask_logits.wgsl" with { type: "text" };

/** Stands for minus infinity, of which sums and products stay finite. */
export const FORBIDDEN = -1e30;

/** Words of the mask of one row, whose vocabulary may be split among ranks. */
export function maskWords(wholeVocabulary: number): number {
  return ceilDiv(wholeVocabulary, 32);
}

/** Configuration of {@link maskLogits}. */
export interface MaskLogitsConfig {
  /** Tokens whose logits are here. */
  readonly vocabulary: number;
  /** Tokens of the whole vocabulary, which masks cover. */
  readonly wholeVocabulary: number;
}

/** logits[row, token] becomes {@link FORBIDDEN} where bit first_token + token of masks[row] is 0. masks: [rows, ⌈whole vocabulary / 32⌉] words. */
export const maskLogits: Kernel<MaskLogitsConfig, "masks" | "logits", "rows" | "first_token"> = {
  name: "mask_logits",
  bindings: { masks: "read", logits: "read_write" },
  params: ["rows", "first_token"],
  wgsl: ({ vocabulary, wholeVocabulary }) => constants({ VOCABULARY: vocabulary, MASK_WORDS: maskWords(wholeVocabulary) }, { FORBIDDEN }) + source,
  workgroups: ({ vocabulary }, { rows }) => [ceilDiv(vocabulary, 64), rows, 1],
  sizes: ({ vocabulary, wholeVocabulary }, { rows }) => ({ masks: rows * maskWords(wholeVocabulary) * 4, logits: rows * vocabulary * 4 }),
  reference({ vocabulary, wholeVocabulary }, { masks, logits }, { rows, first_token }) {
    const words = maskWords(wholeVocabulary);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < vocabulary; i++) {
        const token = first_token + i;
        if (((masks.u32[row * words + (token >>> 5)] >>> (token & 31)) & 1) === 0) logits.f32[row * vocabulary + i] = FORBIDDEN;
      }
    }
  },
};

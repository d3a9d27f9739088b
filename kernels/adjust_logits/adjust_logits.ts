/**
 * Applies penalties and logit bias before candidates are chosen.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./adjust_logits.wgsl" with { type: "text" };

/** Words of one adjustment: row, token, bits of the repetition penalty (1: none), bits of what is added. */
export const ADJUSTMENT_WORDS = 4;

/** logit → (logit > 0 ? logit / repetition : logit · repetition) + addend, for each (row, token); no pair may occur twice. logits: [rows, vocabulary]. */
export const adjustLogits: Kernel<{ readonly vocabulary: number }, "adjustments" | "logits", "count" | "rows" | "first_token"> = {
  name: "adjust_logits",
  bindings: { adjustments: "read", logits: "read_write" },
  params: ["count", "rows", "first_token"],
  wgsl: ({ vocabulary }) => constants({ VOCABULARY: vocabulary }) + source,
  workgroups: (_, { count }) => [ceilDiv(count, 64), 1, 1],
  sizes: ({ vocabulary }, { count, rows }) => ({ adjustments: count * ADJUSTMENT_WORDS * 4, logits: rows * vocabulary * 4 }),
  reference({ vocabulary }, { adjustments, logits }, { count, first_token }) {
    for (let i = 0; i < count; i++) {
      const [row, id] = adjustments.u32.subarray(i * ADJUSTMENT_WORDS);
      const [repetition, addend] = adjustments.f32.subarray(i * ADJUSTMENT_WORDS + 2);
      const token = id - first_token;
      if (token < 0 || token >= vocabulary) continue;
      const at = row * vocabulary + token;
      const logit = logits.f32[at];
      logits.f32[at] = (logit > 0 ? logit / repetition : logit * repetition) + addend;
    }
  },
};

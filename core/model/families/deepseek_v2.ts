/**
 * DeepSeek-V2 and V2-Lite: softmax routing, greedy or limited to the best groups.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./family.ts";
import { requireField } from "./field_checks.ts";
import { COMMON_FIELDS, commonSpec } from "./fields.ts";

const schema = z.object({
  ...COMMON_FIELDS,
  topk_method: z.enum(["greedy", "group_limited_greedy"]).nullish(),
  scoring_func: z.string().nullish(),
});

/** DeepSeek-V2. */
export const deepseekV2: Family = { modelTypes: ["deepseek_v2"], architectures: ["DeepseekV2ForCausalLM"], read };

function read(config: unknown): ModelSpec {
  const fields = schema.parse(config);
  const scoring = fields.scoring_func ?? "softmax";
  requireField(scoring === "softmax", "scoring_func", `is "${scoring}"; deepseek_v2 routes by "softmax"`);
  const limited = fields.topk_method === "group_limited_greedy";
  if (limited) {
    requireField(fields.n_group != null, "n_group", `is missing, but topk_method is "group_limited_greedy"`);
    requireField(fields.topk_group != null, "topk_group", `is missing, but topk_method is "group_limited_greedy"`);
  }
  return commonSpec("deepseek_v2", fields, { interleaved: true }, {
    scoring: "softmax",
    groupScore: "max",
    correctionBias: false,
    // transformers reads norm_topk_prob for this family and never applies it; every published checkpoint has it false.
    normalize: false,
    routedScale: fields.routed_scaling_factor ?? 1,
    groups: limited ? fields.n_group! : 1,
    activeGroups: limited ? fields.topk_group! : 1,
  });
}

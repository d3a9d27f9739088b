/**
 * DeepSeek-V3, R1, Kimi-K2 and Moonlight: sigmoid routing in node groups, chosen with a learnt correction bias.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import { COMMON_FIELDS, commonSpec, requireField } from "./fields.ts";

const groupCount = z.int().positive().max(1024);

const schema = z.object({
  ...COMMON_FIELDS,
  n_group: groupCount,
  topk_group: groupCount,
  rope_interleave: z.boolean().nullish(),
  topk_method: z.string().nullish(),
  scoring_func: z.string().nullish(),
});

/** `model_type: deepseek_v3` (and `kimi_k2`) → spec. */
export function deepseekV3(config: unknown): ModelSpec {
  const fields = schema.parse(config);
  const scoring = fields.scoring_func ?? "sigmoid";
  requireField(scoring === "sigmoid", "scoring_func", `is "${scoring}"; deepseek_v3 routes by "sigmoid"`);
  const method = fields.topk_method ?? "noaux_tc";
  requireField(method === "noaux_tc", "topk_method", `is "${method}"; deepseek_v3 chooses by "noaux_tc"`);
  return commonSpec("deepseek_v3", fields, { interleaved: fields.rope_interleave ?? true }, {
    scoring: "sigmoid",
    groupScore: "top2",
    correctionBias: true,
    normalize: fields.norm_topk_prob ?? true,
    routedScale: fields.routed_scaling_factor ?? 2.5,
    groups: fields.n_group,
    activeGroups: fields.topk_group,
  });
}

/**
 * What families have in common that route as DeepSeek-V3 does: by sigmoid, in node groups, chosen with a learnt correction bias.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import { flag, requireField } from "./field_checks.ts";
import { COMMON_FIELDS, commonSpec } from "./fields.ts";

const groupCount = z.int().positive().max(1024);

const schema = z.object({
  ...COMMON_FIELDS,
  n_group: groupCount,
  topk_group: groupCount,
  rope_interleave: z.boolean().nullish(),
  topk_method: z.string().nullish(),
  scoring_func: z.string().nullish(),
});

/** Builds the spec of such a family. @param routedScale where the file does not say */
export function sigmoidRouted(family: string, config: unknown, routedScale: number): ModelSpec {
  const fields = schema.parse(config);
  const scoring = fields.scoring_func ?? "sigmoid";
  requireField(scoring === "sigmoid", "scoring_func", `is "${scoring}"; ${family} routes by "sigmoid"`);
  const method = fields.topk_method ?? "noaux_tc";
  requireField(method === "noaux_tc", "topk_method", `is "${method}"; ${family} chooses by "noaux_tc"`);
  return commonSpec(family, fields, { interleaved: flag(fields.rope_interleave, true) }, {
    scoring: "sigmoid",
    groupScore: "top2",
    correctionBias: true,
    normalize: flag(fields.norm_topk_prob, true),
    routedScale: fields.routed_scaling_factor ?? routedScale,
    groups: fields.n_group,
    activeGroups: fields.topk_group,
  });
}

/** Refuses layers that are not dense up to `first_k_dense_replace` and have experts from there on. @throws {FieldError} */
export function checkLayerTypes(config: unknown): void {
  const { mlp_layer_types: types, first_k_dense_replace: dense } = layerTypes.parse(config);
  const isAsReplaced = types?.every((type, layer) => type === (layer < dense ? "dense" : "sparse")) ?? true;
  requireField(isAsReplaced, "mlp_layer_types", `does not begin with first_k_dense_replace (${dense}) dense layers, all others being sparse`);
}

const layerTypes = z.object({
  mlp_layer_types: z.array(z.string()).max(1024).nullish(),
  first_k_dense_replace: COMMON_FIELDS.first_k_dense_replace,
});

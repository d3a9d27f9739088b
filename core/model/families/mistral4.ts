/**
 * Mistral 4, as a text model: softmax routing, and queries that grow with their position.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./family.ts";
import { FieldError, flag } from "./field_checks.ts";
import { COMMON_FIELDS, commonSpec } from "./fields.ts";

const schema = z.object({
  ...COMMON_FIELDS,
  first_k_dense_replace: COMMON_FIELDS.first_k_dense_replace.nullish(),
  rope_interleave: z.boolean().nullish(),
});

/** What of `rope_parameters` is this family's alone. */
const ropeSchema = z.object({
  llama_4_scaling_beta: z.number().min(0).max(1e3).optional(),
  original_max_position_embeddings: COMMON_FIELDS.max_position_embeddings.optional(),
});

/** Mistral 4, its text model. */
export const mistral4: Family = { modelTypes: ["mistral4"], architectures: ["Mistral4ForCausalLM"], read };

function read(config: unknown): ModelSpec {
  const fields = schema.parse(config);
  const name = fields.rope_parameters != null ? "rope_parameters" : "rope_scaling";
  const { [name]: rope } = z.object({ [name]: ropeSchema.nullish() }).parse(config);
  // transformers would take the positions of the published model for those of any.
  if (rope == null) throw new FieldError("rope_parameters", "is missing; mistral4 needs it");
  const { llama_4_scaling_beta: beta, original_max_position_embeddings: inner } = rope;
  const span = inner ?? fields.original_max_position_embeddings;
  if (beta === undefined) throw new FieldError(`${name}.llama_4_scaling_beta`, "is missing; mistral4 needs it");
  if (span == null) throw new FieldError(`${name}.original_max_position_embeddings`, "is missing; mistral4 needs it");
  const spec = commonSpec(
    "mistral4",
    { ...fields, first_k_dense_replace: fields.first_k_dense_replace ?? 0 },
    { interleaved: flag(fields.rope_interleave, true) },
    {
      scoring: "softmax",
      groupScore: "top2",
      correctionBias: false,
      normalize: flag(fields.norm_topk_prob, true),
      routedScale: fields.routed_scaling_factor ?? 1,
      groups: fields.n_group ?? 1,
      activeGroups: fields.topk_group ?? 1,
    },
  );
  return { ...spec, queryScaling: beta === 0 ? null : { beta, span } };
}

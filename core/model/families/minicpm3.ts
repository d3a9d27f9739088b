/**
 * MiniCPM3: dense layers, and scales that keep sums alike in models of any depth and width (muP).
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./family.ts";
import { requireField } from "./field_checks.ts";
import { DENSE_FIELDS, denseSpec, NO_EXPERTS, noExperts } from "./fields.ts";

const scale = z.number().positive().max(1e4);

const schema = z.object({
  ...DENSE_FIELDS,
  ...NO_EXPERTS,
  v_head_dim: DENSE_FIELDS.v_head_dim.nullish(),
  // Required, as the defaults of OpenBMB's code and of transformers differ; null stands for no scale.
  scale_emb: scale,
  scale_depth: scale.nullable(),
  dim_model_base: DENSE_FIELDS.hidden_size.nullable(),
});

/** MiniCPM3-4B. */
export const minicpm3: Family = { modelTypes: ["minicpm3"], architectures: ["MiniCPM3ForCausalLM"], read };

/**
 * Each block's output is added to the residual stream times r = scale_depth / √layers. What is computed here is the stream divided by r, to which outputs are added
 * as they are: embeddings enter it times scale_emb / r, and all that reads it is a norm, which gives the same for x / r as for x where its epsilon is divided by r².
 */
function read(config: unknown): ModelSpec {
  const { v_head_dim: valueWidth, ...fields } = schema.parse(config);
  noExperts("minicpm3", fields);
  const { hidden_size: D, num_attention_heads: heads, num_hidden_layers: layers } = fields;
  requireField(
    valueWidth != null || D % heads === 0,
    "v_head_dim",
    `is missing, and num_attention_heads (${heads}) do not divide hidden_size (${D})`,
  );
  const spec = denseSpec(
    "minicpm3",
    { ...fields, v_head_dim: valueWidth ?? D / heads, tie_word_embeddings: fields.tie_word_embeddings ?? true },
    { interleaved: false },
  );
  const residualScale = fields.scale_depth === null ? 1 : fields.scale_depth / Math.sqrt(layers);
  return {
    ...spec,
    normEps: spec.normEps / residualScale ** 2,
    embeddingScale: fields.scale_emb / residualScale,
    logitScale: (fields.dim_model_base ?? D) / D,
  };
}

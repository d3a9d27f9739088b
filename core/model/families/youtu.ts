/**
 * Youtu-LLM: the attention of DeepSeek-V3 in a model whose layers are all dense.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./family.ts";
import { flag } from "./field_checks.ts";
import { DENSE_FIELDS, denseSpec, NO_EXPERTS, noExperts } from "./fields.ts";

const schema = z.object({ ...DENSE_FIELDS, ...NO_EXPERTS, rope_interleave: z.boolean().nullish(), pad_token_id: DENSE_FIELDS.bos_token_id });

/** Youtu-LLM-2B, which was first published with code of its own under the second name. */
export const youtu: Family = { modelTypes: ["youtu", "youtu_llm"], architectures: ["YoutuForCausalLM"], read };

function read(config: unknown): ModelSpec {
  const fields = schema.parse(config);
  noExperts("youtu", fields);
  const spec = denseSpec("youtu", { ...fields, tie_word_embeddings: fields.tie_word_embeddings ?? true }, {
    interleaved: flag(fields.rope_interleave, true),
  });
  return { ...spec, zeroToken: zeroToken(spec, fields.pad_token_id ?? null) };
}

/**
 * transformers (5.17) clears the padding token's row of this family alone after it has read a checkpoint: its `_init_weights` does not look whether the row was
 * loaded. Logits of that token are 0 there, and goldens have it so. Published checkpoints name no padding token in config.json, and nothing is cleared. One that
 * names a token which ends texts could end none any more, and keeps its row.
 */
function zeroToken({ vocabSize, eosTokens }: ModelSpec, padToken: number | null): number | null {
  return padToken === null || padToken >= vocabSize || eosTokens.includes(padToken) ? null : padToken;
}

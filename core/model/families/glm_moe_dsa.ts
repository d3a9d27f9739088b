/**
 * GLM-5: sparse attention in which some layers may attend to what the one before them has chosen.
 *
 * @module
 */
import { z } from "zod";
import type { Family } from "./family.ts";
import { FieldError, requireField } from "./field_checks.ts";
import { sparseSpec } from "./sparse_attention.ts";

/** GLM-5. */
export const glmMoeDsa: Family = {
  modelTypes: ["glm_moe_dsa"],
  architectures: ["GlmMoeDsaForCausalLM"],
  read: (config) => sparseSpec("glm_moe_dsa", config, { heads: 32, interleaved: true, chooses: (layers) => choosing(config, layers) }),
};

const sharing = z.object({
  indexer_types: z.array(z.string()).max(1024).nullish(),
  index_topk_pattern: z.union([z.string().max(1024), z.array(z.string()).max(1024)]).nullish(),
  index_topk_freq: z.int().max(1024).nullish(),
  index_skip_topk_offset: z.int().min(0).max(1024).nullish(),
});

const CHOOSES: Readonly<Record<string, boolean>> = { full: true, shared: false, F: true, S: false };

/** Which layers choose: as they are listed, or as a pattern has it, or every so many of them behind the first ones. */
function choosing(config: unknown, layers: number): boolean[] {
  const { indexer_types: listed, index_topk_pattern: pattern, index_topk_freq: every, index_skip_topk_offset: first } = sharing.parse(config);
  const listing = listed != null ? ["indexer_types", listed] as const : pattern != null ? ["index_topk_pattern", [...pattern]] as const : null;
  const field = listing?.[0] ?? "index_skip_topk_offset";
  const chooses = listing === null
    ? Array.from({ length: layers }, (_, layer) => Math.max(layer - (first ?? 2) + 1, 0) % Math.max(every ?? 1, 1) === 0)
    : listedAs(field, listing[1], layers);
  requireField(chooses[0], field, "has the first layer attend to what the one before it has chosen");
  return chooses;
}

function listedAs(field: string, types: readonly string[], layers: number): boolean[] {
  requireField(types.length >= layers, field, `has ${types.length} entries for ${layers} layers`);
  return types.slice(0, layers).map((type) => {
    if (!Object.hasOwn(CHOOSES, type)) throw new FieldError(field, `has "${type.slice(0, 64)}"; only "full" and "shared" are supported`);
    return CHOOSES[type];
  });
}

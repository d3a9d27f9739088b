/**
 * DeepSeek-V3.2 and GLM-5: DeepSeek-V3 with sparse attention, in which an indexer chooses the tokens that a query attends to.
 *
 * @module
 */
import { z } from "zod";
import type { IndexerSpec, ModelSpec } from "../spec.ts";
import { checkLayerTypes, sigmoidRouted } from "./deepseek_v3.ts";
import { FieldError, requireField, size } from "./field_checks.ts";

const SPARSE = "deepseek_sparse_attention";

const schema = z.object({
  index_topk: size(2 ** 20).nullish(),
  index_head_dim: size(8192).nullish(),
  index_n_heads: size(4096).nullish(),
  indexer_rope_interleave: z.boolean().nullish(),
  layer_types: z.array(z.string()).max(1024).nullish(),
});

const sharing = z.object({
  indexer_types: z.array(z.string()).max(1024).nullish(),
  index_topk_pattern: z.union([z.string().max(1024), z.array(z.string()).max(1024)]).nullish(),
  index_topk_freq: z.int().max(1024).nullish(),
  index_skip_topk_offset: z.int().min(0).max(1024).nullish(),
});

/** `model_type: deepseek_v32` → spec. In its indexer, pairs that are rotated lie half a width apart, unlike those in its attention. */
export function deepseekV32(config: unknown): ModelSpec {
  const spec = routed("deepseek_v32", config);
  return { ...spec, indexer: indexerOf(spec, config, { heads: 64, interleaved: false, chooses: new Array(spec.layers).fill(true) }) };
}

/** `model_type: glm_moe_dsa` → spec. Some layers of it may attend to what the one before them has chosen. */
export function glmMoeDsa(config: unknown): ModelSpec {
  const spec = routed("glm_moe_dsa", config);
  return { ...spec, indexer: indexerOf(spec, config, { heads: 32, interleaved: true, chooses: choosing(config, spec.layers) }) };
}

/** Everything but the indexer. */
function routed(family: string, config: unknown): ModelSpec {
  checkLayerTypes(config);
  const spec = sigmoidRouted(family, { n_group: 1, topk_group: 1, ...config as object }, 2.5);
  requireField(spec.rope.interleaved, "rope_interleave", "is false; in this family attention rotates pairs that lie side by side");
  requireField(spec.queryRank !== null, "q_lora_rank", "is null; the indexer takes compressed queries");
  return spec;
}

/** @param published what goes without saying */
function indexerOf(
  { rope, layers }: ModelSpec,
  config: unknown,
  { heads, interleaved, chooses }: Pick<IndexerSpec, "heads" | "interleaved" | "chooses">,
): IndexerSpec {
  const fields = schema.parse(config);
  const width = fields.index_head_dim ?? 128;
  requireField(width % 2 === 0, "index_head_dim", `is ${width}; only even widths are supported`);
  requireField(rope.width <= width, "index_head_dim", `is ${width}, less than qk_rope_head_dim (${rope.width}), the columns of it that are rotated`);
  const pairs = fields.indexer_rope_interleave ?? interleaved;
  requireField(pairs === interleaved, "indexer_rope_interleave", `is ${pairs}; in this family only ${interleaved} is supported`);
  const types = fields.layer_types ?? [];
  const other = types.find((type) => type !== SPARSE);
  requireField(other === undefined, "layer_types", `has "${other}"; only "${SPARSE}" is supported`);
  requireField(types.length === 0 || types.length >= layers, "layer_types", `has ${types.length} entries for ${layers} layers`);
  return { heads: fields.index_n_heads ?? heads, width, topTokens: fields.index_topk ?? 2048, interleaved, chooses };
}

const CHOOSES: Readonly<Record<string, boolean>> = { full: true, shared: false, F: true, S: false };

/** Which layers choose: as they are listed, or as a pattern has it, or every so many of them behind the first ones. */
function choosing(config: unknown, layers: number): boolean[] {
  const { indexer_types: listed, index_topk_pattern: pattern, index_topk_freq: every, index_skip_topk_offset: first } = sharing.parse(config);
  const [field, types] = listed != null ? ["indexer_types", listed] : ["index_topk_pattern", pattern == null ? null : [...pattern]];
  if (types === null) {
    return Array.from({ length: layers }, (_, layer) => Math.max(layer - (first ?? 2) + 1, 0) % Math.max(every ?? 1, 1) === 0);
  }
  requireField(types.length >= layers, field, `has ${types.length} entries for ${layers} layers`);
  const chooses = types.slice(0, layers).map((type) => {
    if (!Object.hasOwn(CHOOSES, type)) throw new FieldError(field, `has "${type.slice(0, 64)}"; only "full" and "shared" are supported`);
    return CHOOSES[type];
  });
  requireField(chooses[0], field, "begins with a layer that attends to what the one before it has chosen");
  return chooses;
}

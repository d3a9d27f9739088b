/**
 * What families have in common that are DeepSeek-V3 with sparse attention, in which an indexer chooses the tokens that a query attends to.
 *
 * @module
 */
import { z } from "zod";
import type { IndexerSpec, ModelSpec } from "../spec.ts";
import { requireField, size } from "./field_checks.ts";
import { checkLayerTypes, sigmoidRouted } from "./sigmoid_routing.ts";

const SPARSE = "deepseek_sparse_attention";

const schema = z.object({
  index_topk: size(2 ** 20).nullish(),
  index_head_dim: size(8192).nullish(),
  index_n_heads: size(4096).nullish(),
  indexer_rope_interleave: z.boolean().nullish(),
  layer_types: z.array(z.string()).max(1024).nullish(),
});

/** How a family's indexer differs. */
export interface IndexerHabits extends Pick<IndexerSpec, "interleaved"> {
  /** Where the file does not say. */
  readonly heads: number;
  /** Of each of so many layers, whether it chooses tokens. */
  chooses(layers: number): readonly boolean[];
}

/** Builds the spec of such a family. @throws {FieldError} */
export function sparseSpec(family: string, config: unknown, habits: IndexerHabits): ModelSpec {
  const spec = routed(family, config);
  return { ...spec, indexer: indexerOf(spec, config, habits) };
}

/** Everything but the indexer. */
function routed(family: string, config: unknown): ModelSpec {
  checkLayerTypes(config);
  const spec = sigmoidRouted(family, { n_group: 1, topk_group: 1, ...config as object }, 2.5);
  requireField(spec.rope.interleaved, "rope_interleave", "is false; in this family attention rotates pairs that lie side by side");
  requireField(spec.queryRank !== null, "q_lora_rank", "is null; the indexer takes compressed queries");
  return spec;
}

function indexerOf(
  { rope, layers }: ModelSpec,
  config: unknown,
  { heads, interleaved, chooses }: IndexerHabits,
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
  return { heads: fields.index_n_heads ?? heads, width, topTokens: fields.index_topk ?? 2048, interleaved, chooses: chooses(layers) };
}

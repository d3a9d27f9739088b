/**
 * Checkpoints with random weights and any sizes.
 *
 * @module
 */
import { type TensorData, writeSafetensors } from "../../core/model/safetensors_writer.ts";
import { F16_VALUES, toHalfBits } from "../../core/numeric.ts";
import { fixtureDirectory } from "./checkpoints.ts";
import { Random } from "../../bench/support/random.ts";

/** The sizes that are not read from elsewhere; all of them awkward on purpose. */
export const ODD_CONFIG = {
  model_type: "deepseek_v2",
  vocab_size: 301,
  hidden_size: 45,
  num_hidden_layers: 3,
  num_attention_heads: 5,
  kv_lora_rank: 21,
  q_lora_rank: 13 as number | null,
  qk_nope_head_dim: 7,
  qk_rope_head_dim: 6,
  v_head_dim: 9,
  intermediate_size: 50,
  moe_intermediate_size: 11,
  first_k_dense_replace: 1,
  n_routed_experts: 12,
  n_shared_experts: 3 as number | null,
  num_experts_per_tok: 3,
  topk_method: "group_limited_greedy",
  n_group: 4,
  topk_group: 2,
  routed_scaling_factor: 1.7,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 300,
  bos_token_id: 0,
  eos_token_id: [1, 2],
  num_nextn_predict_layers: 0,
};

/** Routed as DeepSeek-V3 does, with a layer that drafts. */
export const ODD_MTP_CONFIG: typeof ODD_CONFIG = {
  ...ODD_CONFIG,
  model_type: "deepseek_v3",
  topk_method: "noaux_tc",
  num_nextn_predict_layers: 1,
};

/** With sparse attention, to fewer tokens than a text has. */
export const ODD_SPARSE_CONFIG: OddConfig = {
  ...ODD_CONFIG,
  model_type: "deepseek_v32",
  topk_method: "noaux_tc",
  index_topk: 29,
  index_head_dim: 14,
  index_n_heads: 5,
};

/** With a norm of what experts give. */
export const ODD_OUTPUT_NORM_CONFIG: OddConfig = { ...ODD_CONFIG, model_type: "axk1", topk_method: "noaux_tc" };

/** Sizes, and those of an indexer, where there is one. */
export type OddConfig = typeof ODD_CONFIG & Partial<Record<"index_topk" | "index_head_dim" | "index_n_heads", number>>;

/** How a checkpoint is made. */
export interface RandomCheckpointOptions {
  /** Of all tensors, whose values f16 can hold. */
  readonly dtype?: "F16" | "F32";
  /**
   * Makes a layer that drafts agree with the model often, but not always: what blocks add to the residual stream is less than what is there, and that layer goes on from
   * the embedding.
   */
  readonly agreeing?: boolean;
  /** Leaves the layer that drafts out, whatever config.json says. */
  readonly withoutMtp?: boolean;
}

/** Writes a checkpoint of two files with an index into a new temporary directory. The caller removes it. */
export async function writeRandomCheckpoint(
  config: OddConfig,
  { dtype = "F16", agreeing = false, withoutMtp = false }: RandomCheckpointOptions = {},
): Promise<string> {
  const random = new Random();
  const tensors: TensorData[] = [];
  const push = (name: string, shape: readonly number[], values: Float32Array) => {
    const halves = toHalfBits(values);
    const stored = dtype === "F16" ? halves : Float32Array.from(halves, (bits) => F16_VALUES[bits]);
    tensors.push({ name, dtype, shape: [...shape], bytes: new Uint8Array(stored.buffer) });
  };
  const add = (name: string, ...shape: number[]) => {
    const norm = shape.length === 1;
    const damped = agreeing && /(o_proj|down_proj)$/.test(name) ? 0.05 : 1;
    const values = random.normals(shape.reduce((a, b) => a * b), norm ? (agreeing ? 0.03 : 0.1) : shape.at(-1)! ** -0.5 * damped).map((
      value,
    ) => (norm ? 1 + value : value));
    push(`${name}.weight`, shape, values);
  };
  const { hidden_size: D, num_attention_heads: H, kv_lora_rank: C, q_lora_rank: Q, qk_nope_head_dim: N, qk_rope_head_dim: R, v_head_dim: V } = config;
  const mlp = (prefix: string, width: number) => {
    add(`${prefix}.gate_proj`, width, D);
    add(`${prefix}.up_proj`, width, D);
    add(`${prefix}.down_proj`, D, width);
  };
  add("model.embed_tokens", config.vocab_size, D);
  add("lm_head", config.vocab_size, D);
  add("model.norm", D);
  const mtpLayers = withoutMtp ? 0 : config.num_nextn_predict_layers;
  for (let layer = 0; layer < config.num_hidden_layers + mtpLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    add(`${prefix}.input_layernorm`, D);
    add(`${prefix}.post_attention_layernorm`, D);
    if (Q === null) add(`${prefix}.self_attn.q_proj`, H * (N + R), D);
    else {
      add(`${prefix}.self_attn.q_a_proj`, Q, D);
      add(`${prefix}.self_attn.q_a_layernorm`, Q);
      add(`${prefix}.self_attn.q_b_proj`, H * (N + R), Q);
    }
    add(`${prefix}.self_attn.kv_a_proj_with_mqa`, C + R, D);
    add(`${prefix}.self_attn.kv_a_layernorm`, C);
    add(`${prefix}.self_attn.kv_b_proj`, H * (N + V), C);
    add(`${prefix}.self_attn.o_proj`, D, H * V);
    const { index_n_heads: heads = 0, index_head_dim: width = 0 } = config;
    if (heads > 0) {
      add(`${prefix}.self_attn.indexer.wq_b`, heads * width, Q!);
      add(`${prefix}.self_attn.indexer.wk`, width, D);
      add(`${prefix}.self_attn.indexer.k_norm`, width);
      push(`${prefix}.self_attn.indexer.k_norm.bias`, [width], random.normals(width, 0.1));
      add(`${prefix}.self_attn.indexer.weights_proj`, heads, D);
    }
    if (layer < config.first_k_dense_replace) mlp(`${prefix}.mlp`, config.intermediate_size);
    else {
      add(`${prefix}.mlp.gate`, config.n_routed_experts, D);
      if (config.model_type === "axk1") add(`${prefix}.post_mlp_layernorm`, D);
      if (config.topk_method === "noaux_tc") {
        push(`${prefix}.mlp.gate.e_score_correction_bias`, [config.n_routed_experts], random.normals(config.n_routed_experts, 0.1));
      }
      for (let e = 0; e < config.n_routed_experts; e++) mlp(`${prefix}.mlp.experts.${e}`, config.moe_intermediate_size);
      if (config.n_shared_experts) mlp(`${prefix}.mlp.shared_experts`, config.moe_intermediate_size * config.n_shared_experts);
    }
    if (layer < config.num_hidden_layers) continue;
    add(`${prefix}.enorm`, D);
    add(`${prefix}.hnorm`, D);
    add(`${prefix}.shared_head.norm`, D);
    if (agreeing) push(`${prefix}.eh_proj.weight`, [D, 2 * D], random.normals(2 * D * D, 0.005).map((value, i) => i % (2 * D + 1) === 0 ? 1 : value));
    else add(`${prefix}.eh_proj`, D, 2 * D);
  }
  const directory = await Deno.makeTempDir();
  const half = Math.floor(tensors.length / 2);
  const files = { "model-00001-of-00002.safetensors": tensors.slice(0, half), "model-00002-of-00002.safetensors": tensors.slice(half) };
  const weight_map = Object.fromEntries(Object.entries(files).flatMap(([file, list]) => list.map(({ name }) => [name, file])));
  for (const [file, list] of Object.entries(files)) await Deno.writeFile(`${directory}/${file}`, writeSafetensors(list, { format: "pt" }));
  await Deno.writeTextFile(`${directory}/model.safetensors.index.json`, JSON.stringify({ metadata: {}, weight_map }));
  await Deno.writeTextFile(`${directory}/config.json`, JSON.stringify(config));
  await Deno.copyFile(`${fixtureDirectory("deepseek-v3-tiny")}/tokenizer.json`, `${directory}/tokenizer.json`);
  return directory;
}

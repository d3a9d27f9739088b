/**
 * Sizes of published models, as their config.json has them, and of one that is small enough for tests.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";

/** What differs between models; the rest is the same for most, see {@link configOf}. */
interface Sizes {
  readonly model_type: "deepseek_v2" | "deepseek_v3" | "deepseek_v32" | "glm_moe_dsa";
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly q_lora_rank: number | null;
  readonly qk_nope_head_dim: number;
  readonly v_head_dim: number;
  readonly intermediate_size: number;
  readonly moe_intermediate_size: number;
  readonly first_k_dense_replace: number;
  readonly n_routed_experts: number;
  readonly n_shared_experts: number;
  readonly num_experts_per_tok: number;
  readonly n_group: number;
  readonly topk_group: number;
  readonly kv_lora_rank?: number;
  readonly qk_rope_head_dim?: number;
  readonly max_position_embeddings?: number;
  /** Of sparse attention. */
  readonly index_n_heads?: number;
}

/** DeepSeek-V3's, from which V3.2 differs in its attention. */
const V3 = {
  model_type: "deepseek_v3",
  vocab_size: 129280,
  hidden_size: 7168,
  num_hidden_layers: 61,
  num_attention_heads: 128,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  v_head_dim: 128,
  intermediate_size: 18432,
  moe_intermediate_size: 2048,
  first_k_dense_replace: 3,
  n_routed_experts: 256,
  n_shared_experts: 1,
  num_experts_per_tok: 8,
  n_group: 8,
  topk_group: 4,
} satisfies Sizes;

/** By the name that `synthetic:` takes. */
export const SHAPES = {
  tiny: {
    model_type: "deepseek_v3",
    vocab_size: 512,
    hidden_size: 64,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    q_lora_rank: null,
    kv_lora_rank: 32,
    qk_nope_head_dim: 16,
    qk_rope_head_dim: 16,
    v_head_dim: 16,
    intermediate_size: 96,
    moe_intermediate_size: 32,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    n_shared_experts: 1,
    num_experts_per_tok: 2,
    n_group: 1,
    topk_group: 1,
    max_position_embeddings: 16384,
  },
  "v2-lite": {
    model_type: "deepseek_v2",
    vocab_size: 102400,
    hidden_size: 2048,
    num_hidden_layers: 27,
    num_attention_heads: 16,
    q_lora_rank: null,
    qk_nope_head_dim: 128,
    v_head_dim: 128,
    intermediate_size: 10944,
    moe_intermediate_size: 1408,
    first_k_dense_replace: 1,
    n_routed_experts: 64,
    n_shared_experts: 2,
    num_experts_per_tok: 6,
    n_group: 1,
    topk_group: 1,
  },
  moonlight: {
    model_type: "deepseek_v3",
    vocab_size: 163840,
    hidden_size: 2048,
    num_hidden_layers: 27,
    num_attention_heads: 16,
    q_lora_rank: null,
    qk_nope_head_dim: 128,
    v_head_dim: 128,
    intermediate_size: 11264,
    moe_intermediate_size: 1408,
    first_k_dense_replace: 1,
    n_routed_experts: 64,
    n_shared_experts: 2,
    num_experts_per_tok: 6,
    n_group: 1,
    topk_group: 1,
  },
  "glm-4.7-flash": {
    model_type: "deepseek_v3",
    vocab_size: 154880,
    hidden_size: 2048,
    num_hidden_layers: 47,
    num_attention_heads: 20,
    q_lora_rank: 768,
    qk_nope_head_dim: 192,
    v_head_dim: 256,
    intermediate_size: 10240,
    moe_intermediate_size: 1536,
    first_k_dense_replace: 1,
    n_routed_experts: 64,
    n_shared_experts: 1,
    num_experts_per_tok: 4,
    n_group: 1,
    topk_group: 1,
  },
  "kimi-k2": {
    model_type: "deepseek_v3",
    vocab_size: 163840,
    hidden_size: 7168,
    num_hidden_layers: 61,
    num_attention_heads: 64,
    q_lora_rank: 1536,
    qk_nope_head_dim: 128,
    v_head_dim: 128,
    intermediate_size: 18432,
    moe_intermediate_size: 2048,
    first_k_dense_replace: 1,
    n_routed_experts: 384,
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    n_group: 1,
    topk_group: 1,
  },
  v3: V3,
  "v3.2": { ...V3, model_type: "deepseek_v32", index_n_heads: 64 },
  "glm-5": {
    model_type: "glm_moe_dsa",
    vocab_size: 154880,
    hidden_size: 6144,
    num_hidden_layers: 78,
    num_attention_heads: 64,
    q_lora_rank: 2048,
    qk_nope_head_dim: 192,
    v_head_dim: 256,
    intermediate_size: 12288,
    moe_intermediate_size: 2048,
    first_k_dense_replace: 3,
    n_routed_experts: 256,
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    n_group: 1,
    topk_group: 1,
    max_position_embeddings: 202752,
    index_n_heads: 32,
  },
} as const satisfies Readonly<Record<string, Sizes>>;

/** Name of a shape. */
export type ShapeName = keyof typeof SHAPES;

/** The shape of a name. @throws {LatentmeshError} `invalid_config` that lists the names */
export function shapeNamed(name: string): ShapeName {
  if (Object.hasOwn(SHAPES, name)) return name as ShapeName;
  throw new LatentmeshError("invalid_config", `There is no shape "${name}"; there are ${Object.keys(SHAPES).join(", ")}`, { param: "model" });
}

/** What a shape may have that it has not by itself: experts in four bits of groups, and a layer that drafts. */
export interface ShapeOptions {
  readonly int4?: number | null;
  readonly mtp?: boolean;
}

/** config.json of a shape, with other layers than it has if asked for. Latents are 512 + 64 wide in published ones. */
export function configOf(
  shape: ShapeName,
  layers: number = SHAPES[shape].num_hidden_layers,
  { int4 = null, mtp = false }: ShapeOptions = {},
): string {
  return JSON.stringify({
    kv_lora_rank: 512,
    qk_rope_head_dim: 64,
    max_position_embeddings: 163840,
    ...SHAPES[shape],
    num_hidden_layers: layers,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    bos_token_id: BOS_TOKEN,
    eos_token_id: EOS_TOKEN,
    ...(mtp ? { num_nextn_predict_layers: 1 } : {}),
    ...(int4 === null ? {} : { quantization_config: int4Config(int4) }),
  });
}

function int4Config(group: number): object {
  const weights = { num_bits: 4, type: "int", strategy: "group", group_size: group, symmetric: true };
  return { quant_method: "compressed-tensors", format: "pack-quantized", config_groups: { group_0: { targets: ["Linear"], weights } } };
}

/** Ids of the tokens that begin and end a text. */
export const [BOS_TOKEN, EOS_TOKEN]: readonly [number, number] = [0, 1];

/**
 * DeepSeek-V3.2: in its indexer, pairs that are rotated lie half a width apart, unlike those in its attention.
 *
 * @module
 */
import type { Family } from "./family.ts";
import { sparseSpec } from "./sparse_attention.ts";

/** DeepSeek-V3.2. */
export const deepseekV32: Family = {
  modelTypes: ["deepseek_v32"],
  architectures: ["DeepseekV32ForCausalLM"],
  read: (config) => sparseSpec("deepseek_v32", config, { heads: 64, interleaved: false, chooses: (layers) => new Array(layers).fill(true) }),
};

/**
 * DeepSeek-V3 and R1, and what has its architecture with other sizes.
 *
 * @module
 */
import type { Family } from "./family.ts";
import { sigmoidRouted } from "./sigmoid_routing.ts";

/** DeepSeek-V3, R1, Moonlight, GigaChat3; Kimi-K2; JoyAI-LLM-Flash. */
export const deepseekV3: Family = {
  modelTypes: ["deepseek_v3", "kimi_k2", "joyai_llm_flash"],
  architectures: ["DeepseekV3ForCausalLM"],
  read: (config) => sigmoidRouted("deepseek_v3", config, 2.5),
};

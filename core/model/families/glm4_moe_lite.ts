/**
 * GLM-4.7-Flash: the architecture of DeepSeek-V3, with values that are wider than keys without position.
 *
 * @module
 */
import type { Family } from "./family.ts";
import { checkLayerTypes, sigmoidRouted } from "./sigmoid_routing.ts";

/** GLM-4.7-Flash. */
export const glm4MoeLite: Family = {
  modelTypes: ["glm4_moe_lite"],
  architectures: ["Glm4MoeLiteForCausalLM"],
  read(config) {
    checkLayerTypes(config);
    return sigmoidRouted("glm4_moe_lite", config, 1.8);
  },
};

/**
 * A.X-K1: DeepSeek-V3 with one norm more, of what experts give.
 *
 * @module
 */
import type { Family } from "./family.ts";
import { sigmoidRouted } from "./sigmoid_routing.ts";

/** A.X-K1, which was first published with code of its own under the second name. */
export const axk1: Family = {
  modelTypes: ["axk1", "AXK1"],
  architectures: ["AXK1ForCausalLM"],
  read(config) {
    const { moe, ...spec } = sigmoidRouted("axk1", config, 2.5);
    return { ...spec, moe: moe === null ? null : { ...moe, outputNorm: true } };
  },
};

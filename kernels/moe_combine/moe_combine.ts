/**
 * Weighs the outputs of a token's experts and adds them to the shared expert's, always in the order of the routes.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./moe_combine.wgsl" with { type: "text" };

/** `addToShared`: y already holds the shared expert's output. */
export interface MoeCombineConfig {
  readonly width: number;
  readonly activeExperts: number;
  readonly addToShared: boolean;
}

/** y[token] (+)= Σ_k gates[token, k] · expert_out[token, k]; expert_out: [tokens, activeExperts, width], y: [tokens, width]. */
export const moeCombine: Kernel<MoeCombineConfig, "gates" | "expert_out" | "y", "tokens"> = {
  name: "moe_combine",
  bindings: { gates: "read", expert_out: "read", y: "read_write" },
  params: ["tokens"],
  wgsl: (config) => constants({ WIDTH: config.width, ACTIVE: config.activeExperts }) + `const ADD_TO_SHARED = ${config.addToShared};\n` + source,
  workgroups: ({ width }, { tokens }) => [ceilDiv(width, 64), tokens, 1],
  sizes: ({ width, activeExperts }, { tokens }) => ({
    gates: tokens * activeExperts * 4,
    expert_out: tokens * activeExperts * width * 4,
    y: tokens * width * 4,
  }),
  reference({ width, activeExperts, addToShared }, { gates, expert_out, y }, { tokens }) {
    for (let token = 0; token < tokens; token++) {
      for (let d = 0; d < width; d++) {
        let sum = addToShared ? y.f32[token * width + d] : 0;
        for (let k = 0; k < activeExperts; k++) sum += gates.f32[token * activeExperts + k] * expert_out.f32[(token * activeExperts + k) * width + d];
        y.f32[token * width + d] = sum;
      }
    }
  },
  wasm: ({ width, activeExperts, addToShared }) => ({ at, allocate, call }) => {
    const args = allocate(6);
    args.u32.set([at.gates, at.expert_out, addToShared ? at.y : 0, at.y, width, activeExperts]);
    return ({ tokens }) => call("combine", args, tokens, width * activeExperts);
  },
};

/**
 * Experts without weights: what they give is their input, times their gate.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./identity_experts.wgsl" with { type: "text" };

/** `adds`: whether this rank adds what they give; of ranks whose parts are summed, one does. */
export interface IdentityExpertsConfig {
  readonly width: number;
  /** Experts with weights; those that are counted behind them have none. At least as many as are active. */
  readonly experts: number;
  readonly activeExperts: number;
  readonly adds: boolean;
}

/**
 * y[token] = h[token] · Σ gates of routes ≥ experts. What computes experts has something to do for every route: those are given the first experts that the token has
 * not, with a gate of 0. routes, gates: [tokens, activeExperts]; h, y: [tokens, width].
 */
export const identityExperts: Kernel<IdentityExpertsConfig, "routes" | "gates" | "h" | "y", "tokens"> = {
  name: "identity_experts",
  bindings: { routes: "read_write", gates: "read_write", h: "read", y: "read_write" },
  params: ["tokens"],
  wgsl: ({ width, experts, activeExperts, adds }) =>
    constants({ WIDTH: width, EXPERTS: experts, ACTIVE: activeExperts }) + `const ADDS = ${adds};\n` + source,
  workgroupBytes: () => [4],
  workgroups: (_, { tokens }) => [tokens, 1, 1],
  sizes: ({ width, activeExperts }, { tokens }) => ({
    routes: tokens * activeExperts * 4,
    gates: tokens * activeExperts * 4,
    h: tokens * width * 4,
    y: tokens * width * 4,
  }),
  reference({ width, experts, activeExperts, adds }, { routes, gates, h, y }, { tokens }) {
    for (let token = 0; token < tokens; token++) {
      const chosen = routes.u32.subarray(token * activeExperts, (token + 1) * activeExperts);
      const weights = gates.f32.subarray(token * activeExperts, (token + 1) * activeExperts);
      let [sum, unused] = [0, 0];
      for (let k = 0; k < activeExperts; k++) {
        if (chosen[k] < experts) continue;
        sum = Math.fround(sum + weights[k]);
        while (chosen.includes(unused)) unused++;
        chosen[k] = unused;
        weights[k] = 0;
      }
      for (let d = 0; d < width; d++) y.f32[token * width + d] = adds ? sum * h.f32[token * width + d] : 0;
    }
  },
};

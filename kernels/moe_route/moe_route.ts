/**
 * Chooses the experts of each token: softmax or sigmoid scores, node groups, correction bias, normalised and scaled gates.
 *
 * @module
 */
import type { MoeSpec } from "../../core/model/spec.ts";
import { roundUp } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import source from "./moe_route.wgsl" with { type: "text" };

/** The routing fields of a {@link MoeSpec}, and how the work is divided. */
export type MoeRouteConfig =
  & Pick<
    MoeSpec,
    "experts" | "activeExperts" | "scoring" | "groups" | "activeGroups" | "groupScore" | "normalize" | "routedScale"
  >
  & {
    /** Threads per token. */
    readonly threads: number;
  };

/** Experts that a loop looks at at a time. */
const AT_ONCE = 8;

/**
 * logits: [tokens, experts], bias: [experts] (zeros where the model has none) → routes: [tokens, activeExperts] expert ids, gates: their weights.
 * As in transformers' `DeepseekV3TopkRouter` and `DeepseekV2Moe`; experts of groups that were not chosen cannot be chosen at all.
 */
export const moeRoute: Kernel<MoeRouteConfig, "logits" | "bias" | "routes" | "gates", "tokens"> = {
  name: "moe_route",
  bindings: { logits: "read", bias: "read", routes: "read_write", gates: "read_write" },
  params: ["tokens"],
  wgsl: (config) =>
    constants({
      THREADS: config.threads,
      AT_ONCE,
      EXPERTS: config.experts,
      ACTIVE: config.activeExperts,
      GROUPS: config.groups,
      ACTIVE_GROUPS: config.activeGroups,
    }, {
      ROUTED_SCALE: config.routedScale,
    }) + `const SOFTMAX = ${config.scoring === "softmax"};\nconst TOP2 = ${config.groupScore === "top2"};\nconst NORMALIZE = ${config.normalize};\n` +
    unroll(source, { AT_ONCE }),
  workgroupBytes: ({ experts, groups, activeExperts }) =>
    [roundUp(experts, AT_ONCE), roundUp(experts, AT_ONCE), groups, activeExperts].map((words) => words * 4),
  workgroups: (_, { tokens }) => [tokens, 1, 1],
  sizes: ({ experts, activeExperts }, { tokens }) => ({
    logits: tokens * experts * 4,
    bias: experts * 4,
    routes: tokens * activeExperts * 4,
    gates: tokens * activeExperts * 4,
  }),
  reference(config, buffers, { tokens }) {
    for (let token = 0; token < tokens; token++) routeToken(config, buffers, token);
  },
  wasm: ({ experts, activeExperts, scoring, groups, activeGroups, groupScore, normalize, routedScale }) => ({ at, allocate, reserve, call }) => {
    reserve((2 * experts + groups) * 8);
    const args = allocate(12);
    args.u32.set([at.logits, at.bias, at.routes, at.gates, experts, activeExperts, scoring === "softmax" ? 1 : 0, groups, activeGroups]);
    args.u32.set([groupScore === "top2" ? 1 : 0, normalize ? 1 : 0], 9);
    args.f32[11] = routedScale;
    return ({ tokens }) => call("moe_route", args, tokens, experts * (32 + activeExperts));
  },
};

function routeToken(config: MoeRouteConfig, buffers: Readonly<Record<"logits" | "bias" | "routes" | "gates", HostBuffer>>, token: number): void {
  const { experts, activeExperts } = config;
  const scores = scoresOf(config, buffers.logits.f32.subarray(token * experts, (token + 1) * experts));
  const choice = scores.map((score, e) => score + buffers.bias.f32[e]);
  if (config.activeGroups < config.groups) keepBestGroups(config, choice);
  const chosen = largest(choice, activeExperts);
  const sum = config.normalize ? chosen.reduce((total, e) => total + scores[e], 1e-20) : 1;
  chosen.forEach((expert, k) => {
    buffers.routes.u32[token * activeExperts + k] = expert;
    buffers.gates.f32[token * activeExperts + k] = (scores[expert] / sum) * config.routedScale;
  });
}

function scoresOf(config: MoeRouteConfig, logits: Float32Array): Float64Array {
  const values = Float64Array.from(logits);
  if (config.scoring === "sigmoid") return values.map((logit) => 1 / (1 + Math.exp(-logit)));
  const max = values.reduce((a, b) => Math.max(a, b));
  const weights = values.map((logit) => Math.exp(logit - max));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}

function keepBestGroups({ experts, groups, activeGroups, groupScore }: MoeRouteConfig, choice: Float64Array): void {
  const size = experts / groups;
  const scores = Float64Array.from({ length: groups }, (_, g) => {
    const [first, second] = choice.slice(g * size, (g + 1) * size).sort().reverse();
    return groupScore === "top2" ? first + second : first;
  });
  const kept = new Set(largest(scores, activeGroups));
  for (let e = 0; e < experts; e++) if (!kept.has(Math.floor(e / size))) choice[e] = -Infinity;
}

/** Indices of the `count` largest values, descending; of equals the lower index first. */
function largest(values: Float64Array, count: number): number[] {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
}

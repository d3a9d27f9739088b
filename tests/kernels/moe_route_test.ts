import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { moeRoute, type MoeRouteConfig } from "../../kernels/moe_route/moe_route.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

const CONFIGS: Record<string, MoeRouteConfig> = {
  "softmax, greedy": {
    experts: 9,
    threads: 64,
    activeExperts: 3,
    scoring: "softmax",
    groups: 1,
    activeGroups: 1,
    groupScore: "max",
    normalize: false,
    routedScale: 1,
  },
  "softmax, group-limited": {
    experts: 160,
    threads: 256,
    activeExperts: 6,
    scoring: "softmax",
    groups: 8,
    activeGroups: 3,
    groupScore: "max",
    normalize: false,
    routedScale: 16,
  },
  "sigmoid, node groups": {
    experts: 24,
    threads: 64,
    activeExperts: 4,
    scoring: "sigmoid",
    groups: 6,
    activeGroups: 2,
    groupScore: "top2",
    normalize: true,
    routedScale: 2.5,
  },
  "sigmoid, not normalised": {
    experts: 2,
    threads: 128,
    activeExperts: 1,
    scoring: "sigmoid",
    groups: 1,
    activeGroups: 1,
    groupScore: "top2",
    normalize: false,
    routedScale: 0.5,
  },
};

/** Routing as the papers write it, with infinities. */
function oracle(config: MoeRouteConfig, logits: number[], bias: number[]): { experts: number[]; gates: number[] } {
  const exponentials = logits.map(Math.exp);
  const scores = config.scoring === "sigmoid"
    ? logits.map((logit) => 1 / (1 + Math.exp(-logit)))
    : exponentials.map((e) => e / exponentials.reduce((a, b) => a + b));
  const choice = scores.map((score, e) => score + bias[e]);
  const size = config.experts / config.groups;
  const groups = Array.from({ length: config.groups }, (_, g) => {
    const sorted = choice.slice(g * size, (g + 1) * size).sort((a, b) => b - a);
    return { g, score: config.groupScore === "top2" ? sorted[0] + sorted[1] : sorted[0] };
  }).sort((a, b) => b.score - a.score).slice(0, config.activeGroups).map(({ g }) => g);
  const experts = choice.map((value, e) => ({ e, value })).filter(({ e }) => groups.includes(Math.floor(e / size)))
    .sort((a, b) => b.value - a.value).slice(0, config.activeExperts).map(({ e }) => e);
  const sum = config.normalize ? experts.reduce((total, e) => total + scores[e], 0) : 1;
  return { experts, gates: experts.map((e) => scores[e] / sum * config.routedScale) };
}

describeOnDevices("moe_route", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const [name, config] of Object.entries(CONFIGS)) {
    it(name, async () => {
      const random = new Random();
      const tokens = 21;
      const logits = random.normals(tokens * config.experts);
      // Biases so negative that a masked score of 0 would win: groups that were not chosen must stay out.
      const bias = config.scoring === "sigmoid" ? random.normals(config.experts, 0.3).map((b) => b - 2) : new Float32Array(config.experts);
      const poison = { poison: tokens * config.activeExperts };
      const { routes, gates } = await runKernel(device, moeRoute, config, { logits, bias, routes: poison, gates: poison }, { tokens });
      for (let token = 0; token < tokens; token++) {
        const expected = oracle(config, [...logits.subarray(token * config.experts, (token + 1) * config.experts)], [...bias]);
        const at = token * config.activeExperts;
        assertEquals([...routes.u32.subarray(at, at + config.activeExperts)], expected.experts, `token ${token}`);
        assertClose(gates.f32.subarray(at, at + config.activeExperts), expected.gates, 1e-5, `gates of token ${token}`);
      }
    });
  }

  it("gives equal scores to the lower expert", async () => {
    const config = CONFIGS["softmax, greedy"];
    const poison = { poison: 3 };
    const { routes } = await runKernel(device, moeRoute, config, {
      logits: new Float32Array(9),
      bias: new Float32Array(9),
      routes: poison,
      gates: poison,
    }, { tokens: 1 });
    assertEquals([...routes.u32], [0, 1, 2]);
  });
});

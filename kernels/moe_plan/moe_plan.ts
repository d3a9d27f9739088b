/**
 * Groups the (token, expert) pairs of a prefill chunk by expert, so that each expert's rows are multiplied together and nothing is padded.
 *
 * @module
 */
import { constants, type Kernel } from "../contract.ts";
import { unroll } from "../unroll.ts";
import { type MoePlan, planOf } from "./layout.ts";
import source from "./moe_plan.wgsl" with { type: "text" };

const THREADS = 256;
/** Items whose routes a thread asks for together. */
const AT_ONCE = 8;

/** routes: [items] expert ids → plan, laid out as `layout.ts` says. */
export const moePlan: Kernel<MoePlan, "routes" | "plan", "items"> = {
  name: "moe_plan",
  bindings: { routes: "read", plan: "read_write" },
  params: ["items"],
  wgsl(config) {
    const { experts, tileItems } = config;
    // Stretches of the items, as many as give every thread some expert's.
    const parts = Math.max(1, Math.floor(THREADS / experts));
    const numbers = { EXPERTS: experts, PARTS: parts, THREADS, AT_ONCE, TILE_ITEMS: tileItems, PLAN_ITEMS: planOf(config).items };
    return constants(numbers) + unroll(source, numbers);
  },
  workgroups: () => [1, 1, 1],
  sizes: (config, { items }) => ({ routes: items * 4, plan: planOf(config).words * 4 }),
  reference(config, { routes, plan }, { items }) {
    const sorted = Array.from({ length: items }, (_, i) => i).sort((a, b) => routes.u32[a] - routes.u32[b] || a - b);
    plan.u32.set(sorted, planOf(config).items);
    let tiles = 0;
    for (let first = 0; first < items; tiles++) {
      const expert = routes.u32[sorted[first]];
      let end = first;
      while (end < Math.min(items, first + config.tileItems) && routes.u32[sorted[end]] === expert) end++;
      plan.u32.set([expert, first, end - first], 4 + tiles * 3);
      first = end;
    }
    plan.u32[0] = tiles;
  },
};

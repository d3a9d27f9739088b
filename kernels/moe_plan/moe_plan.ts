/**
 * Groups the (token, expert) pairs of a prefill chunk by expert, so that each expert's rows are multiplied together and nothing is padded.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import { type MoePlan, planOf } from "./layout.ts";
import source from "./moe_plan.wgsl" with { type: "text" };

const THREADS = 256;
/** Items whose routes a thread asks for together. */
const AT_ONCE = 8;

/** Workgroup memory that every device has, in words. */
const MEMORY_WORDS = 4096;
/** With more bits for each expert there are fewer rounds, but an item counts more of them. */
const MOST_WORDS = 32;

/**
 * Words of bits for each expert, one for each item of a round. Memory also holds the place of its next item, and a word that makes an even number odd.
 *
 * @throws {LatentmeshError} `unsupported` if not even a word for each expert fits
 */
function wordsOf(experts: number): number {
  const words = Math.min(MOST_WORDS, Math.floor(MEMORY_WORDS / experts) - 2);
  if (words < 1) throw new LatentmeshError("unsupported", `A plan for ${experts} experts does not fit workgroup memory`);
  return words;
}

/** routes: [items] expert ids → plan, laid out as `layout.ts` says. */
export const moePlan: Kernel<MoePlan, "routes" | "plan", "items"> = {
  name: "moe_plan",
  bindings: { routes: "read", plan: "read_write" },
  params: ["items"],
  wgsl(config) {
    const { experts, tileItems } = config;
    const words = wordsOf(experts);
    const numbers = {
      EXPERTS: experts,
      WORDS: words,
      THREADS,
      AT_ONCE,
      EXPERTS_EACH: ceilDiv(experts, THREADS),
      ITEMS_EACH: ceilDiv(words * 32, THREADS),
      TILE_ITEMS: tileItems,
      PLAN_ITEMS: planOf(config).items,
    };
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

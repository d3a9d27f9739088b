/**
 * One layer's feed-forward block, bound. Dense, or routed experts with a shared one.
 *
 * @module
 */
import type { BoundKernel, DeviceBuffer } from "../kernels/device.ts";
import type { Select } from "../kernels/linear/select.ts";
import { type MoePlan, planFor } from "../kernels/moe_plan/layout.ts";
import { moePlan } from "../kernels/moe_plan/moe_plan.ts";
import { moeRoute } from "../kernels/moe_route/moe_route.ts";
import { mostRows } from "./activations.ts";
import { bindCombine, type Block, blockInput, BlockOutput, type Pending } from "./block.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear } from "./linear.ts";
import { type DecodeLayer, givesTo, type LinearBinding, type Phase } from "./linear_binding.ts";
import { LinearBeside, LinearPair } from "./linear_pair.ts";
import { type FeedForwardWeights, isMoe, type MoeWeights } from "./weights.ts";

/** Compiles and binds the block of one layer. @param norm what its input is normalised with */
export async function createFeedForward(
  context: ModelContext,
  weights: FeedForwardWeights | MoeWeights,
  norm: DeviceBuffer,
): Promise<Block> {
  return isMoe(weights) ? await Moe.create(context, weights, norm) : await Dense.create(context, weights, norm);
}

/** Whether this rank has only a part of feed-forward blocks. */
function isPartial({ group: { ranks, wholeFeedForward } }: ModelContext): boolean {
  return ranks > 1 && !wholeFeedForward;
}

/**
 * What the two layers of a feed-forward network have between them in decode: on matrix units the first activates its gates and values and gives them in f16, where
 * prefill has gates and values in f32.
 */
function activatedBetween(
  context: ModelContext,
  { gateUp, down }: FeedForwardWeights,
  { up, down: to, at }: { readonly up: DecodeLayer["binding"]; readonly down: DecodeLayer["binding"]; readonly at: DeviceBuffer },
): Pick<LinearBinding, "gives" | "rounded"> {
  const gives = givesTo(context, "activated", { matrix: gateUp, binding: up }, { matrix: down, binding: { ...to, input: "gated" } });
  return { gives, rounded: gives === "activated" ? { decode: at } : {} };
}

/** W_down (silu(W_gate h) ∘ W_up h) */
class Dense implements Block {
  readonly #gateUp: Linear;
  readonly #down: BlockOutput;

  private constructor(gateUp: Linear, down: BlockOutput) {
    this.#gateUp = gateUp;
    this.#down = down;
  }

  static async create(context: ModelContext, weights: FeedForwardWeights, norm: DeviceBuffer): Promise<Dense> {
    const { activations: { gateUp }, both: most } = context;
    const { gives, rounded } = activatedBetween(context, weights, { up: { most }, down: { most }, at: gateUp });
    return new Dense(
      ...await Promise.all([
        Linear.create(context, weights.gateUp, { ...blockInput(context, norm), y: gateUp, gives }),
        BlockOutput.create(context, weights.down, { x: gateUp, rounded, input: "gated", partial: isPartial(context) }),
      ]),
    );
  }

  get normalises(): boolean {
    return this.#gateUp.normalises;
  }

  record({ phase, rows: { length: rows } }: Step, unnormed: boolean): Pending {
    if (unnormed) this.#gateUp.runUnnormed();
    else this.#gateUp.run(phase, rows);
    return this.#down.run(phase, rows);
  }
}

/** The choice of experts, and beside it the shared expert, which does not wait for that. */
interface Choice {
  /** Whether it can normalise one row itself; h then holds it. */
  readonly normalises: boolean;
  /** Records h → routes and gates, and the shared expert's output → delta. */
  record(phase: Phase, tokens: number, unnormed: boolean): void;
}

async function createChoice(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer): Promise<Choice> {
  const { device, spec, activations: a, both, limits } = context;
  const routing = {
    kernel: moeRoute,
    buffers: { logits: a.routerLogits, bias: weights.correctionBias, routes: a.routes, gates: a.gates },
    most: { tokens: mostRows(limits) },
  };
  const input = blockInput(context, norm);
  // The experts take the normalised row from where the router leaves it.
  const router = {
    matrix: weights.router,
    binding: { ...input, unnormed: { ...input.unnormed, keeps: true }, y: a.routerLogits, precise: "always" as const },
  };
  const bindRoute = async () => (await device.compile(moeRoute, { ...spec.moe!, threads: 128 })).bind(routing.buffers, routing.most);
  const { shared } = weights;
  if (shared === null) {
    const [route, linear] = await Promise.all([bindRoute(), Linear.create(context, router.matrix, router.binding)]);
    return {
      normalises: linear.normalises,
      record(phase, tokens, unnormed) {
        if (unnormed) linear.runUnnormed();
        else linear.run(phase, tokens);
        device.run(route, { tokens });
      },
    };
  }
  const { gives, rounded } = activatedBetween(context, shared, { up: { most: both }, down: { most: both }, at: a.gateUp });
  const output: LinearBinding = { x: a.gateUp, rounded, input: "gated", y: a.delta, most: both };
  const [route, up, downAndRoute] = await Promise.all([
    bindRoute(),
    LinearPair.create(context, router, { matrix: shared.gateUp, binding: { ...input, y: a.gateUp, gives } }),
    LinearBeside.create(context, shared.down, output, { of: ({ threads }) => ({ ...routing, config: { ...spec.moe!, threads } }) }),
  ]);
  const down = await Linear.create(context, shared.down, downAndRoute === null ? output : { ...output, most: { ...both, decode: 0 } });
  return {
    normalises: up.normalises,
    record(phase, tokens, unnormed) {
      if (unnormed) up.runUnnormed();
      else up.run(phase, tokens);
      if (phase === "decode" && downAndRoute !== null) return downAndRoute.run(tokens, { tokens });
      device.run(route, { tokens });
      down.run(phase, tokens);
    },
  };
}

interface MoeParts {
  readonly choice: Choice;
  /** Of each of the plans that a chunk may get. */
  readonly planning: ReadonlyMap<MoePlan, BoundKernel<"items">>;
  readonly gateUp: Linear;
  readonly down: Linear;
  readonly combine: BoundKernel<"tokens">;
}

class Moe implements Block {
  readonly #context: ModelContext;
  readonly #parts: MoeParts;

  private constructor(context: ModelContext, parts: MoeParts) {
    this.#context = context;
    this.#parts = parts;
  }

  static async create(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer): Promise<Moe> {
    const { device, spec, activations: a, both } = context;
    const moe = spec.moe!;
    const routed = (perInput: number) => ({
      select: { kind: "expert", perInput } satisfies Select,
      routes: a.routes,
      plan: { buffer: a.plan, layouts: a.plans },
      most: both,
      itemsPerRow: moe.activeExperts,
    });
    const { experts } = weights;
    const [up, out] = [routed(moe.activeExperts), routed(1)];
    const { gives, rounded } = activatedBetween(context, experts, { up, down: out, at: a.expertGateUp });
    const { x, rounded: normed } = blockInput(context, norm);
    const [choice, kernels, gateUp, down, combine] = await Promise.all([
      createChoice(context, weights, norm),
      Promise.all(a.plans.map((plan) => device.compile(moePlan, plan))),
      Linear.create(context, experts.gateUp, { x, rounded: normed, y: a.expertGateUp, gives, ...up }),
      Linear.create(context, experts.down, { x: a.expertGateUp, rounded, y: a.expertOut, input: "gated", ...out }),
      bindCombine(context, weights),
    ]);
    const most = { items: both.prefill * moe.activeExperts };
    const planning = new Map(a.plans.map((plan, i) => [plan, kernels[i].bind({ routes: a.routes, plan: a.plan }, most)]));
    return new Moe(context, { choice, planning, gateUp, down, combine });
  }

  get normalises(): boolean {
    return this.#parts.choice.normalises;
  }

  record({ phase, rows: { length: tokens } }: Step, unnormed: boolean): Pending {
    const { device, spec, activations: { plans } } = this.#context;
    const { choice, planning, gateUp, down, combine } = this.#parts;
    choice.record(phase, tokens, unnormed);
    if (phase === "prefill") {
      const items = tokens * spec.moe!.activeExperts;
      device.run(planning.get(planFor(plans, items))!, { items });
    }
    gateUp.run(phase, tokens);
    down.run(phase, tokens);
    if (!isPartial(this.#context)) return "experts";
    device.run(combine, { tokens });
    return "parts";
  }
}

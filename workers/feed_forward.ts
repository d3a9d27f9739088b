/**
 * One layer's feed-forward block, bound: h → delta. Dense, or routed experts with a shared one.
 *
 * @module
 */
import type { BoundKernel, DeviceBuffer } from "../kernels/device.ts";
import type { Select } from "../kernels/linear/select.ts";
import { moeCombine } from "../kernels/moe_combine/moe_combine.ts";
import { moePlan } from "../kernels/moe_plan/moe_plan.ts";
import { moeRoute } from "../kernels/moe_route/moe_route.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear, type LinearBinding, type Phase } from "./linear.ts";
import { type FeedForwardWeights, isMoe, type MoeWeights } from "./weights.ts";

/** A feed-forward block on one device. */
export interface FeedForward {
  /** Records h → delta for a step. */
  record(step: Step): void;
}

/** Compiles and binds the block of one layer. */
export async function createFeedForward(context: ModelContext, weights: FeedForwardWeights | MoeWeights): Promise<FeedForward> {
  if (isMoe(weights)) return await Moe.create(context, weights);
  const gated = await denseMlp(context, weights);
  return { record: (step) => gated.record(step.phase, step.rows.length) };
}

function denseMlp(context: ModelContext, weights: FeedForwardWeights): Promise<GatedMlp> {
  const { activations: a, both } = context;
  return GatedMlp.create(context, weights, { h: a.h, gateUp: a.gateUp, y: a.delta }, {}, {}, both);
}

/** y = W_down (silu(W_gate h) ∘ W_up h) for one matrix or a stack. */
class GatedMlp {
  readonly #gateUp: Linear;
  readonly #down: Linear;

  private constructor(gateUp: Linear, down: Linear) {
    this.#gateUp = gateUp;
    this.#down = down;
  }

  static async create(
    context: ModelContext,
    weights: FeedForwardWeights,
    buffers: Readonly<Record<"h" | "gateUp" | "y", DeviceBuffer>>,
    up: Partial<LinearBinding>,
    down: Partial<LinearBinding>,
    most: Readonly<Record<Phase, number>>,
  ): Promise<GatedMlp> {
    return new GatedMlp(
      await Linear.create(context, weights.gateUp, { x: buffers.h, y: buffers.gateUp, most, ...up }),
      await Linear.create(context, weights.down, { x: buffers.gateUp, y: buffers.y, input: "gated", most, ...down }),
    );
  }

  record(phase: Phase, items: number): void {
    this.recordUp(phase, items);
    this.recordDown(phase, items);
  }

  recordUp(phase: Phase, items: number): void {
    this.#gateUp.run(phase, items);
  }

  recordDown(phase: Phase, items: number): void {
    this.#down.run(phase, items);
  }
}

class Moe implements FeedForward {
  readonly #context: ModelContext;
  readonly #router: Linear;
  readonly #route: BoundKernel<"tokens">;
  readonly #plan: BoundKernel<"items">;
  readonly #experts: GatedMlp;
  readonly #shared: GatedMlp | null;
  readonly #combine: BoundKernel<"tokens">;

  private constructor(
    context: ModelContext,
    parts: {
      router: Linear;
      route: BoundKernel<"tokens">;
      plan: BoundKernel<"items">;
      experts: GatedMlp;
      shared: GatedMlp | null;
      combine: BoundKernel<"tokens">;
    },
  ) {
    this.#context = context;
    this.#router = parts.router;
    this.#route = parts.route;
    this.#plan = parts.plan;
    this.#experts = parts.experts;
    this.#shared = parts.shared;
    this.#combine = parts.combine;
  }

  static async create(context: ModelContext, weights: MoeWeights): Promise<Moe> {
    const { device, spec, activations: a, both, limits } = context;
    const moe = spec.moe!;
    const tokens = mostRows(limits);
    const route = await device.compile(moeRoute, moe);
    const plan = await device.compile(moePlan, a.planLayout);
    const combine = await device.compile(moeCombine, {
      width: spec.hiddenSize,
      activeExperts: moe.activeExperts,
      addToShared: weights.shared !== null,
    });
    const routed = (perInput: number): Partial<LinearBinding> => ({
      select: { kind: "expert", perInput } satisfies Select,
      routes: a.routes,
      plan: { buffer: a.plan, layout: a.planLayout },
    });
    const pairs = { prefill: both.prefill * moe.activeExperts, decode: both.decode * moe.activeExperts };
    return new Moe(context, {
      router: await Linear.create(context, weights.router, { x: a.h, y: a.routerLogits, precise: true, most: both }),
      route: route.bind({ logits: a.routerLogits, bias: weights.correctionBias, routes: a.routes, gates: a.gates }, { tokens }),
      plan: plan.bind({ routes: a.routes, plan: a.plan }, { items: pairs.prefill }),
      experts: await GatedMlp.create(
        context,
        weights.experts,
        { h: a.h, gateUp: a.expertGateUp, y: a.expertOut },
        routed(moe.activeExperts),
        routed(1),
        pairs,
      ),
      shared: weights.shared === null ? null : await denseMlp(context, weights.shared),
      combine: combine.bind({ gates: a.gates, expert_out: a.expertOut, y: a.delta }, { tokens }),
    });
  }

  record({ phase, rows }: Step): void {
    const { device, spec } = this.#context;
    const tokens = rows.length;
    const items = tokens * spec.moe!.activeExperts;
    // A dispatch waits for those before it only where it reads what they write: both halves of the shared expert run beside the choice of the others, which
    // leaves most of a GPU idle.
    this.#router.run(phase, tokens);
    this.#shared?.recordUp(phase, tokens);
    device.run(this.#route, { tokens });
    this.#shared?.recordDown(phase, tokens);
    if (phase === "prefill") device.run(this.#plan, { items });
    this.#experts.record(phase, items);
    device.run(this.#combine, { tokens });
  }
}

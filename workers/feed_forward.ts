/**
 * One layer's feed-forward block, bound: h → delta. Dense, or routed experts with a shared one.
 *
 * @module
 */
import type { ModelSpec } from "../core/model/spec.ts";
import type { BoundKernel } from "../kernels/device.ts";
import { matvecThreads } from "../kernels/linear/matvec.ts";
import type { Select } from "../kernels/linear/select.ts";
import { moeCombine, type MoeCombineConfig } from "../kernels/moe_combine/moe_combine.ts";
import { moePlan } from "../kernels/moe_plan/moe_plan.ts";
import { moeRoute } from "../kernels/moe_route/moe_route.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear, LinearBeside, type LinearBinding, LinearPair, type Phase } from "./linear.ts";
import { type FeedForwardWeights, isMoe, type MoeWeights } from "./weights.ts";

/** A feed-forward block on one device. */
export interface FeedForward {
  /** Whether what experts give can be left apart from delta. */
  readonly hasExperts: boolean;
  /** Records h → delta for a step. @param apart leaves what experts give where {@link FeedForward.recordSum}, or whoever reads delta next, finds it */
  record(step: Step, apart: boolean): void;
  /** Records that delta takes in what was left apart. */
  recordSum(rows: number): void;
}

/** How what experts give is added to the shared expert's output, or is the output. */
export function combineConfig(spec: ModelSpec, weights: MoeWeights): MoeCombineConfig {
  return { width: spec.hiddenSize, activeExperts: spec.moe!.activeExperts, addToShared: weights.shared !== null };
}

/** Compiles and binds the block of one layer. */
export async function createFeedForward(context: ModelContext, weights: FeedForwardWeights | MoeWeights): Promise<FeedForward> {
  if (isMoe(weights)) return await Moe.create(context, weights);
  const gated = await GatedMlp.create(context, weights, denseBindings(context));
  return { hasExperts: false, record: (step) => gated.record(step.phase, step.rows.length), recordSum() {} };
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
    bindings: Readonly<Record<"up" | "down", LinearBinding>>,
  ): Promise<GatedMlp> {
    return new GatedMlp(
      await Linear.create(context, weights.gateUp, bindings.up),
      await Linear.create(context, weights.down, bindings.down),
    );
  }

  record(phase: Phase, items: number): void {
    this.#gateUp.run(phase, items);
    this.#down.run(phase, items);
  }
}

/** Buffers and most rows of the dense layers, the shared expert among them. */
function denseBindings({ activations: a, both }: ModelContext): { readonly up: LinearBinding; readonly down: LinearBinding } {
  return { up: { x: a.h, y: a.gateUp, most: both }, down: { x: a.gateUp, y: a.delta, input: "gated", most: both } };
}

/** The choice of experts, and beside it the shared expert, which does not wait for that. */
interface Choice {
  /** Records h → routes and gates, and the shared expert's output → delta. */
  record(phase: Phase, tokens: number): void;
}

async function createChoice(context: ModelContext, weights: MoeWeights): Promise<Choice> {
  const { device, spec, activations: a, both, limits } = context;
  const routing = {
    kernel: moeRoute,
    buffers: { logits: a.routerLogits, bias: weights.correctionBias, routes: a.routes, gates: a.gates },
    most: { tokens: mostRows(limits) },
  };
  const router = { matrix: weights.router, binding: { x: a.h, y: a.routerLogits, precise: true, most: both } };
  const compiled = await device.compile(moeRoute, { ...spec.moe!, threads: 128 });
  const route = compiled.bind(routing.buffers, routing.most);
  const { shared } = weights;
  if (shared === null) {
    const linear = await Linear.create(context, router.matrix, router.binding);
    return {
      record(phase, tokens) {
        linear.run(phase, tokens);
        device.run(route, { tokens });
      },
    };
  }
  const bindings = denseBindings(context);
  const up = await LinearPair.create(context, router, { matrix: shared.gateUp, binding: bindings.up });
  const downAndRoute = await LinearBeside.create(
    context,
    shared.down,
    bindings.down,
    (config) => ({ ...routing, config: { ...spec.moe!, threads: matvecThreads(config) } }),
  );
  const most = downAndRoute === null ? both : { ...both, decode: 0 };
  const down = await Linear.create(context, shared.down, { ...bindings.down, most });
  return {
    record(phase, tokens) {
      up.run(phase, tokens);
      if (phase === "decode" && downAndRoute !== null) return downAndRoute.run(tokens, { tokens });
      device.run(route, { tokens });
      down.run(phase, tokens);
    },
  };
}

class Moe implements FeedForward {
  readonly hasExperts = true;
  readonly #context: ModelContext;
  readonly #choice: Choice;
  readonly #plan: BoundKernel<"items">;
  readonly #experts: GatedMlp;
  readonly #combine: BoundKernel<"tokens">;

  private constructor(
    context: ModelContext,
    parts: { choice: Choice; plan: BoundKernel<"items">; experts: GatedMlp; combine: BoundKernel<"tokens"> },
  ) {
    this.#context = context;
    this.#choice = parts.choice;
    this.#plan = parts.plan;
    this.#experts = parts.experts;
    this.#combine = parts.combine;
  }

  static async create(context: ModelContext, weights: MoeWeights): Promise<Moe> {
    const { device, spec, activations: a, both, limits } = context;
    const moe = spec.moe!;
    const plan = await device.compile(moePlan, a.planLayout);
    const combine = await device.compile(moeCombine, combineConfig(spec, weights));
    const pairs = { prefill: both.prefill * moe.activeExperts, decode: both.decode * moe.activeExperts };
    const routed = (perInput: number) => ({
      select: { kind: "expert", perInput } satisfies Select,
      routes: a.routes,
      plan: { buffer: a.plan, layout: a.planLayout },
      most: pairs,
    });
    return new Moe(context, {
      choice: await createChoice(context, weights),
      plan: plan.bind({ routes: a.routes, plan: a.plan }, { items: pairs.prefill }),
      experts: await GatedMlp.create(context, weights.experts, {
        up: { x: a.h, y: a.expertGateUp, ...routed(moe.activeExperts) },
        down: { x: a.expertGateUp, y: a.expertOut, input: "gated", ...routed(1) },
      }),
      combine: combine.bind({ gates: a.gates, expert_out: a.expertOut, y: a.delta }, { tokens: mostRows(limits) }),
    });
  }

  record({ phase, rows }: Step, apart: boolean): void {
    const { device, spec } = this.#context;
    const tokens = rows.length;
    const items = tokens * spec.moe!.activeExperts;
    this.#choice.record(phase, tokens);
    if (phase === "prefill") device.run(this.#plan, { items });
    this.#experts.record(phase, items);
    if (!apart) this.recordSum(tokens);
  }

  recordSum(tokens: number): void {
    this.#context.device.run(this.#combine, { tokens });
  }
}

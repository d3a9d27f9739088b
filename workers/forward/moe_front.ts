/**
 * The first half of a feed-forward block with experts: from normalised rows to the choice of experts, what their second layers take, and the shared expert's output.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { type MoePlan, planFor } from "../../kernels/moe_plan/layout.ts";
import { moePlan } from "../../kernels/moe_plan/moe_plan.ts";
import { moeRoute } from "../../kernels/moe_route/moe_route.ts";
import { mostRows } from "./activations.ts";
import { activatedBetween } from "./activated.ts";
import { blockInput } from "./block.ts";
import type { ModelContext } from "./context.ts";
import { Linear } from "./linear.ts";
import { type DecodeLayer, decodeSides, decodesOnUnits, type LinearBinding, paramsOf, type Phase } from "./linear_binding.ts";
import { LinearPair, LinearWith } from "./linear_pair.ts";
import type { FeedForwardWeights, MoeWeights } from "./weights.ts";

/** It, bound. */
export interface MoeFront {
  /** Whether it can normalise one row itself. */
  readonly normalises: boolean;
  /** Records it: the shared expert's output → `delta`, what the experts' second layers take → `expertGateUp`. */
  record(phase: Phase, tokens: number, unnormed: boolean): void;
}

/**
 * Compiles and binds.
 *
 * @param norm what the block's input is normalised with
 * @param experts how the experts' first layers are bound
 * @param afterChoice recorded when experts are chosen and before they compute; not where there is a shared one
 */
export async function createMoeFront(
  context: ModelContext,
  weights: MoeWeights,
  norm: DeviceBuffer,
  experts: LinearBinding,
  afterChoice: ((tokens: number) => void) | null = null,
): Promise<MoeFront> {
  const up = { matrix: weights.experts.gateUp, binding: experts };
  const parts = await bindParts(context, weights, norm);
  const { shared } = weights;
  if (shared === null) return await withoutShared(context, parts, up, afterChoice);
  invariant(afterChoice === null, "nothing is done with the choice of experts where there is a shared one");
  const { both: most, activations: { gateUp } } = context;
  const between = activatedBetween(context, shared, { up: { most }, down: { most }, at: gateUp });
  const down = { matrix: shared.down, binding: { input: "gated", most } } as const;
  const onUnits = between.gives === "activated" && shared.down.parts.length === 1 && decodesOnUnits(context, down, up) &&
    decodesOnUnits(context, up, down);
  return await (onUnits ? onMatrixUnits : plainly)(context, parts, { ...shared, between }, up);
}

/** What all ways have. */
async function bindParts(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer) {
  const { device, spec, activations: a, both, limits } = context;
  const kernels = await Promise.all(a.plans.map((plan) => device.compile(moePlan, plan)));
  const most = { items: both.prefill * spec.moe!.activeExperts };
  const planning: ReadonlyMap<MoePlan, BoundKernel<"items">> = new Map(
    a.plans.map((plan, i) => [plan, kernels[i].bind({ routes: a.routes, plan: a.plan }, most)]),
  );
  const routing = {
    kernel: moeRoute,
    buffers: { logits: a.routerLogits, bias: weights.correctionBias, routes: a.routes, gates: a.gates },
    most: { tokens: mostRows(limits) },
  };
  const moe = spec.moe!;
  const choices = { ...moe, experts: moe.experts + moe.identityExperts };
  const route = (await device.compile(moeRoute, { ...choices, threads: 128 })).bind(routing.buffers, routing.most);
  const input = blockInput(context, norm);
  const routerBinding = (keeps: { readonly at: DeviceBuffer; readonly as: "f32" | "f16" }): LinearBinding => (
    { ...input, unnormed: { ...input.unnormed, keeps }, y: a.routerLogits, precise: "always" }
  );
  return {
    input,
    /** The router, which leaves a row that it has normalised itself for others, in f32 or for matrix units. */
    routerFor: (units: boolean) => (
      { matrix: weights.router, binding: routerBinding(units && a.hRounded !== null ? { at: a.hRounded, as: "f16" } : { at: a.h, as: "f32" }) }
    ),
    route: (tokens: number) => device.run(route, { tokens }),
    /** The choice, beside a layer that does not wait for it. */
    routing: {
      of: ({ threads }: { readonly threads: number }) => ({ ...routing, config: { ...choices, threads } }),
      alone: () => Promise.resolve((_: Phase, { tokens }: { readonly tokens: number }) => device.run(route, { tokens })),
    },
    /** How experts get their items in prefill. */
    plan(phase: Phase, tokens: number): void {
      const items = tokens * spec.moe!.activeExperts;
      if (phase === "prefill") device.run(planning.get(planFor(a.plans, items))!, { items });
    },
  };
}

type FrontParts = Awaited<ReturnType<typeof bindParts>>;

/** The shared expert, and what its layers have between them. */
interface Shared extends FeedForwardWeights {
  readonly between: Pick<LinearBinding, "gives" | "rounded">;
}

interface Layer extends DecodeLayer {
  readonly binding: LinearBinding;
}

async function withoutShared(
  context: ModelContext,
  { routerFor, route, plan }: FrontParts,
  up: Layer,
  afterChoice: ((tokens: number) => void) | null,
): Promise<MoeFront> {
  const { matrix, binding } = routerFor(decodesOnUnits(context, up));
  const [router, experts] = await Promise.all([Linear.create(context, matrix, binding), Linear.create(context, up.matrix, up.binding)]);
  return {
    normalises: router.normalises,
    record(phase, tokens, unnormed) {
      if (unnormed) router.runUnnormed();
      else router.run(phase, tokens);
      route(tokens);
      afterChoice?.(tokens);
      plan(phase, tokens);
      experts.run(phase, tokens);
    },
  };
}

/** Router and shared expert normalise one row beside each other; the choice is made beside the shared expert's second layer. */
async function plainly(
  context: ModelContext,
  { input, routerFor, routing, plan }: FrontParts,
  { between: { gives, rounded }, ...shared }: Shared,
  up: Layer,
): Promise<MoeFront> {
  const { activations: a, both: most } = context;
  const [pair, routeAndDown, experts] = await Promise.all([
    LinearPair.create(context, routerFor(false), { matrix: shared.gateUp, binding: { ...input, y: a.gateUp, gives } }),
    LinearWith.create(context, shared.down, { x: a.gateUp, rounded, input: "gated", y: a.delta, most }, routing),
    Linear.create(context, up.matrix, up.binding),
  ]);
  return {
    normalises: pair.normalises,
    record(phase, tokens, unnormed) {
      if (unnormed) pair.runUnnormed();
      else pair.run(phase, tokens);
      routeAndDown.run(phase, tokens, { tokens });
      plan(phase, tokens);
      experts.run(phase, tokens);
    },
  };
}

/**
 * Layers on matrix units take a row that somebody has normalised and rounded. For one row that is the router, which everything else waits for; the shared expert's
 * layers are beside what comes after it, so that there are as many dispatches as in f32.
 */
async function onMatrixUnits(
  context: ModelContext,
  { input, routerFor, routing, plan }: FrontParts,
  { between: { gives, rounded }, ...shared }: Shared,
  up: Layer,
): Promise<MoeFront> {
  const { activations: a, both: most } = context;
  const down: LinearBinding = { x: a.gateUp, rounded, input: "gated", y: a.delta, most };
  const [part] = shared.down.parts;
  // Of one matrix, which does not read them, routes can be the experts': a binding less.
  const sides = decodeSides(context, shared.down, part, { ...down, routes: a.routes }, up);
  const { matrix, binding } = routerFor(true);
  const [router, routeAndUp, downAndExperts] = await Promise.all([
    Linear.create(context, matrix, binding),
    LinearWith.create(context, shared.gateUp, { ...input, y: a.gateUp, gives }, routing),
    LinearWith.create(context, up.matrix, up.binding, {
      layer: { matrix: shared.down, binding: down },
      same: { routes: "routes" },
      of: ({ upTo }) => sides.find((side) => side.upTo === upTo)!.side,
      alone: async (decodes) => {
        const linear = await Linear.create(context, shared.down, decodes ? down : { ...down, most: { ...most, decode: 0 } });
        return (phase, { items }) => linear.run(phase, items);
      },
    }),
  ]);
  const whole = paramsOf(shared.down, { kind: "all" }, part);
  return {
    normalises: router.normalises,
    record(phase, tokens, unnormed) {
      if (unnormed) router.runUnnormed();
      else router.run(phase, tokens);
      routeAndUp.run(phase, tokens, { tokens });
      plan(phase, tokens);
      downAndExperts.run(phase, tokens, { ...whole, items: tokens });
    },
  };
}

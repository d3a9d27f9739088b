/**
 * One layer's feed-forward block, bound. Dense, or routed experts with a shared one.
 *
 * @module
 */
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { activatedBetween } from "./activated.ts";
import { bindCombine, type Block, blockInput, BlockOutput, type Pending } from "./block.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear } from "./linear.ts";
import { createMoeFront, type MoeFront } from "./moe_front.ts";
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

class Moe implements Block {
  readonly #context: ModelContext;
  readonly #front: MoeFront;
  readonly #down: Linear;
  readonly #combine: BoundKernel<"tokens">;

  private constructor(context: ModelContext, front: MoeFront, down: Linear, combine: BoundKernel<"tokens">) {
    this.#context = context;
    this.#front = front;
    this.#down = down;
    this.#combine = combine;
  }

  static async create(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer): Promise<Moe> {
    const { spec, activations: a, both } = context;
    const moe = spec.moe!;
    const routed = (perInput: number) => ({
      select: { kind: "expert", perInput } satisfies Select,
      routes: a.routes,
      plan: { buffer: a.plan, layouts: a.plans },
      most: both,
      itemsPerRow: moe.activeExperts,
    });
    const { experts } = weights;
    const [up, down] = [routed(moe.activeExperts), routed(1)];
    const { gives, rounded } = activatedBetween(context, experts, { up, down, at: a.expertGateUp });
    const { x, rounded: normed } = blockInput(context, norm);
    return new Moe(
      context,
      ...await Promise.all([
        createMoeFront(context, weights, norm, { x, rounded: normed, y: a.expertGateUp, gives, ...up }),
        Linear.create(context, experts.down, { x: a.expertGateUp, rounded, y: a.expertOut, input: "gated", ...down }),
        bindCombine(context, weights),
      ]),
    );
  }

  get normalises(): boolean {
    return this.#front.normalises;
  }

  record({ phase, rows: { length: tokens } }: Step, unnormed: boolean): Pending {
    this.#front.record(phase, tokens, unnormed);
    this.#down.run(phase, tokens);
    if (!isPartial(this.#context)) return "experts";
    this.#context.device.run(this.#combine, { tokens });
    return "parts";
  }
}

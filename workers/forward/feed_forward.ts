/**
 * One layer's feed-forward block, bound. Dense, routed experts with or without a shared one, or experts beside dense blocks.
 *
 * @module
 */
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { identityExperts } from "../../kernels/identity_experts/identity_experts.ts";
import { moeCombine } from "../../kernels/moe_combine/moe_combine.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";
import { activatedBetween } from "./activated.ts";
import { mostRows } from "./activations.ts";
import { type Block, blockInput, BlockOutput } from "./block.ts";
import type { ModelContext, Step } from "./context.ts";
import { Experts } from "./experts.ts";
import { Linear } from "./linear.ts";
import { bindCombine, type Pending } from "./pending.ts";
import { type FeedForwardWeights, isMoe, type LayerWeights, type MoeWeights } from "./weights.ts";

/** Compiles and binds the block of one layer. @param before the layer before it, if there is one */
export async function createFeedForward(context: ModelContext, weights: LayerWeights, before: LayerWeights | undefined): Promise<Block> {
  const { feedForward, feedForwardNorm: norm, shortcut } = weights;
  if (isMoe(feedForward)) return await Moe.create(context, feedForward, norm);
  const dense = await Dense.create(context, feedForward, norm);
  if (shortcut !== null) return await ShortcutBegin.create(context, shortcut, norm, dense);
  return before !== undefined && before.shortcut !== null ? await ShortcutEnd.create(context, dense) : dense;
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
  readonly #experts: Experts;
  readonly #combine: BoundKernel<"tokens">;

  private constructor(context: ModelContext, experts: Experts, combine: BoundKernel<"tokens">) {
    this.#context = context;
    this.#experts = experts;
    this.#combine = combine;
  }

  static async create(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer): Promise<Moe> {
    return new Moe(context, ...await Promise.all([Experts.create(context, weights, norm), bindCombine(context, weights)]));
  }

  get normalises(): boolean {
    return this.#experts.normalises;
  }

  record(step: Step, unnormed: boolean): Pending {
    this.#experts.record(step, unnormed);
    if (!isPartial(this.#context)) return "experts";
    this.#context.device.run(this.#combine, { tokens: step.rows.length });
    return "parts";
  }
}

/** A pair's first block: experts beside the dense block, whose outputs are kept until its second. */
class ShortcutBegin implements Block {
  readonly normalises = false;
  readonly #context: ModelContext;
  readonly #experts: Experts;
  readonly #combine: BoundKernel<"tokens">;
  readonly #dense: Dense;

  private constructor(context: ModelContext, experts: Experts, combine: BoundKernel<"tokens">, dense: Dense) {
    this.#context = context;
    this.#experts = experts;
    this.#combine = combine;
    this.#dense = dense;
  }

  static async create(context: ModelContext, weights: MoeWeights, norm: DeviceBuffer, dense: Dense): Promise<ShortcutBegin> {
    const { device, spec: { hiddenSize: width, moe }, group: { rank }, activations: a, limits } = context;
    const { experts, activeExperts, identityExperts: identities } = moe!;
    const most = { tokens: mostRows(limits) };
    const adds = rank === 0 || !isPartial(context);
    const [identity, combine] = await Promise.all([
      identities === 0 ? null : device.compile(identityExperts, { width, experts, activeExperts, adds }),
      device.compile(moeCombine, { width, activeExperts, addToShared: identities > 0 }),
    ]);
    const bound = identity?.bind({ routes: a.routes, gates: a.gates, h: a.h, y: a.shortcut }, most);
    const afterChoice = bound === undefined ? null : (tokens: number) => device.run(bound, { tokens });
    return new ShortcutBegin(
      context,
      await Experts.create(context, weights, norm, afterChoice),
      combine.bind({ gates: a.gates, expert_out: a.expertOut, y: a.shortcut }, most),
      dense,
    );
  }

  record(step: Step): Pending {
    this.#experts.record(step, false);
    this.#context.device.run(this.#combine, { tokens: step.rows.length });
    return this.#dense.record(step, false);
  }
}

/** A pair's second block: dense, and what the experts beside the first one gave. */
class ShortcutEnd implements Block {
  readonly #context: ModelContext;
  readonly #dense: Dense;
  readonly #toDelta: BoundKernel<"rows">;
  readonly #toStream: BoundKernel<"rows">;

  private constructor(context: ModelContext, dense: Dense, toDelta: BoundKernel<"rows">, toStream: BoundKernel<"rows">) {
    this.#context = context;
    this.#dense = dense;
    this.#toDelta = toDelta;
    this.#toStream = toStream;
  }

  static async create(context: ModelContext, dense: Dense): Promise<ShortcutEnd> {
    const { device, spec: { hiddenSize: width }, activations: { shortcut, delta, x }, limits } = context;
    const add = await device.compile(residualAdd, { width });
    const to = (target: DeviceBuffer) => add.bind({ delta: shortcut, x: target }, { rows: mostRows(limits) });
    return new ShortcutEnd(context, dense, to(delta), to(x));
  }

  get normalises(): boolean {
    return this.#dense.normalises;
  }

  record(step: Step, unnormed: boolean): Pending {
    const pending = this.#dense.record(step, unnormed);
    this.#context.device.run(pending === "nothing" ? this.#toStream : this.#toDelta, { rows: step.rows.length });
    return pending;
  }
}

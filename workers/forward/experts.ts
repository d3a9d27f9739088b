/**
 * The experts of a layer, bound: from normalised rows to what each of a token's experts gives, which is not added up yet.
 *
 * @module
 */
import type { DeviceBuffer } from "../../kernels/device/device.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { activatedBetween } from "./activated.ts";
import { blockInput } from "./block.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear } from "./linear.ts";
import { createMoeFront, type MoeFront } from "./moe_front.ts";
import type { MoeWeights } from "./weights.ts";

/** They. */
export class Experts {
  readonly #front: MoeFront;
  readonly #down: Linear;

  private constructor(front: MoeFront, down: Linear) {
    this.#front = front;
    this.#down = down;
  }

  /** Compiles and binds. @param norm what their input is normalised with @param afterChoice see {@link createMoeFront} */
  static async create(
    context: ModelContext,
    weights: MoeWeights,
    norm: DeviceBuffer,
    afterChoice: ((tokens: number) => void) | null = null,
  ): Promise<Experts> {
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
    return new Experts(
      ...await Promise.all([
        createMoeFront(context, weights, norm, { x, rounded: normed, y: a.expertGateUp, gives, ...up }, afterChoice),
        Linear.create(context, experts.down, { x: a.expertGateUp, rounded, y: a.expertOut, input: "gated", ...down }),
      ]),
    );
  }

  /** Whether they can normalise a decode step of one row themselves. */
  get normalises(): boolean {
    return this.#front.normalises;
  }

  /** Records it: the shared expert's output → `delta`, the others' → `expertOut`. */
  record({ phase, rows: { length: tokens } }: Step, unnormed: boolean): void {
    this.#front.record(phase, tokens, unnormed);
    this.#down.run(phase, tokens);
  }
}

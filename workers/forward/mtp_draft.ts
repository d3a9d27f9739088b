/**
 * A multi-token-prediction layer as a model of its own, which drafts: what comes before it, and what is kept of it so that it can go on from its own drafts.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import type { ModelContext, Step, StepPart } from "./context.ts";
import { bindKeeping } from "./mtp_cache.ts";
import { MtpEntry } from "./mtp_entry.ts";
import type { LayerWeights, ModelWeights } from "./weights.ts";

/** Layers, and what is around them. */
export interface Computed {
  /** Tokens → the residual stream. */
  readonly entry: Promise<StepPart>;
  /** What is done with the residual stream when a step has been computed; null: nothing. */
  readonly after: Promise<StepPart> | null;
  readonly layers: readonly LayerWeights[];
  /** Norm before logits. */
  readonly finalNorm: DeviceBuffer;
}

/** The layer that drafts, of a model that has one. */
export function drafting(context: ModelContext, weights: ModelWeights): Computed {
  const { mtp } = weights;
  invariant(mtp !== null, "a model without a layer that drafts");
  const { finalNorm, layer } = mtp;
  return {
    entry: MtpEntry.create(context, weights, mtp, { y: context.activations.x, streams: false }),
    after: bindKeeping(context, finalNorm).then((keep) => new Keeping(context.device, keep)),
    layers: [layer],
    finalNorm,
  };
}

/** Keeps the hidden states of drafts, until they are those of steps. */
class Keeping implements StepPart {
  readonly #device: Device;
  readonly #keep: BoundKernel<"rows">;

  constructor(device: Device, keep: BoundKernel<"rows">) {
    this.#device = device;
    this.#keep = keep;
  }

  record({ rows: { length: rows } }: Step): void {
    this.#device.run(this.#keep, { rows });
  }
}

/**
 * Keeps what drafts need: after every step, the latents of the layer that drafts, and hidden states. Of that layer nothing else is computed until somebody asks for a
 * draft: latents depend on its input alone.
 *
 * An entry of its cache, at the position of a token, is made of that token and the hidden state before it. So it depends on no token behind it, and blocks of prompts
 * that begin alike are shared as they are in other layers.
 *
 * @module
 */
import { keepHidden } from "../../kernels/keep_hidden/keep_hidden.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { mostRows } from "./activations.ts";
import { bindLatentStore } from "./attention.ts";
import { blockInput } from "./block.ts";
import type { ModelContext, Step, StepPart } from "./context.ts";
import { Linear } from "./linear.ts";
import { MtpEntry } from "./mtp_entry.ts";
import { bindNorm } from "./norm.ts";
import type { ModelWeights, MtpWeights } from "./weights.ts";

/** Keeps hidden states. @param gamma what they are normalised with as logits are made of them */
export async function bindKeeping({ device, spec, activations: a, limits, kept }: ModelContext, gamma: DeviceBuffer): Promise<BoundKernel<"rows">> {
  const config = { width: spec.hiddenSize, eps: spec.normEps, capacity: kept!.capacity };
  return (await device.compile(keepHidden, config)).bind({ x: a.x, gamma, places: a.places, kept: kept!.buffer }, { rows: mostRows(limits) });
}

/** What a model does for the layer that drafts. */
export class MtpCache implements StepPart {
  readonly #context: ModelContext;
  readonly #entry: MtpEntry;
  readonly #norm: BoundKernel<"rows" | "first_row">;
  readonly #down: Linear;
  readonly #store: BoundKernel<"rows" | "absorbed_rows">;
  readonly #keep: BoundKernel<"rows">;

  private constructor(
    context: ModelContext,
    parts: {
      readonly entry: MtpEntry;
      readonly norm: BoundKernel<"rows" | "first_row">;
      readonly down: Linear;
      readonly store: BoundKernel<"rows" | "absorbed_rows">;
      readonly keep: BoundKernel<"rows">;
    },
  ) {
    this.#context = context;
    this.#entry = parts.entry;
    this.#norm = parts.norm;
    this.#down = parts.down;
    this.#store = parts.store;
    this.#keep = parts.keep;
  }

  /** Compiles and binds. */
  static async create(context: ModelContext, weights: ModelWeights, mtp: MtpWeights): Promise<MtpCache> {
    const { device, spec, activations: a, limits } = context;
    const { attention, attentionNorm: gamma } = mtp.layer;
    const { x, rounded, most } = blockInput(context, gamma);
    const width = spec.hiddenSize;
    const [entry, norm, down, store, keep] = await Promise.all([
      MtpEntry.create(context, weights, mtp, { y: a.delta, streams: true }),
      bindNorm(device, rmsNorm, { width, inputStride: width, eps: spec.normEps }, {
        buffers: { x: a.delta, gamma, y: a.h },
        rounded: a.hRounded,
        most: { rows: mostRows(limits), first_row: 0 },
      }),
      Linear.create(context, attention.kvDown, { x, rounded, most, y: a.kv }),
      bindLatentStore(context, attention, context.cached[spec.layers]),
      bindKeeping(context, weights.finalNorm),
    ]);
    return new MtpCache(context, { entry, norm, down, store, keep });
  }

  record(step: Step): void {
    const { device } = this.#context;
    const { phase, rows: { length: rows } } = step;
    this.#entry.record(step);
    device.run(this.#norm, { rows, first_row: 0 });
    this.#down.run(phase, rows);
    device.run(this.#store, { rows, absorbed_rows: 0 });
    device.run(this.#keep, { rows });
  }
}

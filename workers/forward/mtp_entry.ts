/**
 * What comes before a multi-token-prediction layer, bound: of each row, the embedding of its token and the hidden state before it, joined and projected.
 *
 * @module
 */
import { mtpJoin } from "../../kernels/mtp_join/mtp_join.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext, Step, StepPart } from "./context.ts";
import { Linear } from "./linear.ts";
import { TokenEmbedding } from "./token_embedding.ts";
import type { ModelWeights, MtpWeights } from "./weights.ts";

/** Bound to where its output goes. */
export class MtpEntry implements StepPart {
  readonly #context: ModelContext;
  readonly #embed: TokenEmbedding;
  readonly #join: BoundKernel<"rows">;
  readonly #project: Linear;
  readonly #streams: boolean;

  private constructor(
    context: ModelContext,
    { embed, join, project }: { readonly embed: TokenEmbedding; readonly join: BoundKernel<"rows">; readonly project: Linear },
    streams: boolean,
  ) {
    this.#context = context;
    this.#streams = streams;
    this.#embed = embed;
    this.#join = join;
    this.#project = project;
  }

  /**
   * Compiles and binds.
   *
   * @param weights of the model: its embedding table, and the norm before its logits
   * @param out.y takes the rows, [rows, D]
   * @param out.streams whether the residual stream holds the hidden states of the step's rows
   */
  static async create(
    context: ModelContext,
    weights: ModelWeights,
    mtp: MtpWeights,
    { y, streams }: { readonly y: DeviceBuffer; readonly streams: boolean },
  ): Promise<MtpEntry> {
    const { device, spec: { hiddenSize: width, normEps: eps }, activations: a, limits, both, kept } = context;
    const [embed, join, project] = await Promise.all([
      TokenEmbedding.create(context, weights, a.h),
      device.compile(mtpJoin, { width, eps }),
      Linear.create(context, mtp.projection, { x: a.joined, y, most: both }),
    ]);
    const buffers = {
      embedded: a.h,
      x: a.x,
      kept: kept!.buffer,
      embedding_norm: mtp.embeddingNorm,
      hidden_norm: mtp.hiddenNorm,
      final_norm: weights.finalNorm,
      places: a.places,
      y: a.joined,
    };
    return new MtpEntry(context, { embed, join: join.bind(buffers, { rows: mostRows(limits) }), project }, streams);
  }

  /** Records the rows of a step whose words are written. */
  record(step: Step): void {
    const { device, kept, activations: { places } } = this.#context;
    const { phase, rows: { length: rows } } = step;
    device.write(places, 0, kept!.places(step, this.#streams));
    this.#embed.record(step);
    device.run(this.#join, { rows });
    this.#project.run(phase, rows);
  }
}

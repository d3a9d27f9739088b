/**
 * What attention and feed-forward blocks have in common: they take normalised rows of the residual stream in, and give what is added to it.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";
import { residualSum } from "../../kernels/residual_add/residual_sum.ts";
import { addRmsNorm, combineRmsNorm } from "../../kernels/rms_norm/add_rms_norm.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { sumRmsNorm } from "../../kernels/rms_norm/sum_rms_norm.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext, Step } from "./context.ts";
import { Linear } from "./linear.ts";
import type { LinearBinding, Phase, UnnormedInput } from "./linear_binding.ts";
import { bindNorm } from "./norm.ts";
import { OutputNorm } from "./output_norm.ts";
import { bindCombine, combineConfig, partsOf, type Pending } from "./pending.ts";
import type { DeviceMatrix, MoeWeights } from "./weights.ts";

/** Half a layer, bound. */
export interface Block {
  /** Whether it can normalise a decode step of one row itself. */
  readonly normalises: boolean;
  /** Records a step. @param unnormed whether the block is to normalise its one row itself */
  record(step: Step, unnormed: boolean): Pending;
}

/** How the first linear layers of a block are bound, but for their output. */
export interface BlockInput extends Omit<LinearBinding, "y"> {
  readonly unnormed: UnnormedInput;
}

/** {@link BlockInput} of a block. @param gamma its norm */
export function blockInput({ spec, activations: a, both }: ModelContext, gamma: DeviceBuffer): BlockInput {
  const rounded = a.hRounded === null ? {} : { prefill: a.hRounded, decode: a.hRounded };
  return { x: a.h, rounded, unnormed: { x: a.x, gamma, eps: spec.normEps }, most: both };
}

interface PreparationKernels {
  readonly norm: BoundKernel<"rows" | "first_row">;
  readonly addNorm: BoundKernel<"rows">;
  readonly combineNorm: BoundKernel<"rows"> | null;
  readonly sumNorm: BoundKernel<"rows"> | null;
}

/** Before a block: the residual stream takes in what is pending, and is normalised. */
export class BlockPreparation {
  readonly #context: ModelContext;
  readonly #kernels: PreparationKernels;

  /** Of the block before, whose output is taken in before anything is normalised here; null: it has none. */
  readonly #outputNorm: OutputNorm | null;

  private constructor(context: ModelContext, kernels: PreparationKernels, outputNorm: OutputNorm | null) {
    this.#context = context;
    this.#kernels = kernels;
    this.#outputNorm = outputNorm;
  }

  /** Compiles and binds. @param experts those of the block before, if there are any */
  static async create(context: ModelContext, gamma: DeviceBuffer, experts: MoeWeights | null): Promise<BlockPreparation> {
    const { device, spec, activations: { x, delta, h: y, hRounded: rounded, gates, expertOut }, limits } = context;
    const shape = { width: spec.hiddenSize, eps: spec.normEps };
    const most = { rows: mostRows(limits) };
    const parts = partsOf(context);
    const bound = { rounded, most };
    const outputNorm = await OutputNorm.create(context, experts);
    return new BlockPreparation(context, {
      norm: await bindNorm(device, rmsNorm, { ...shape, inputStride: shape.width }, {
        buffers: { x, gamma, y },
        rounded,
        most: { ...most, first_row: 0 },
      }),
      addNorm: await bindNorm(device, addRmsNorm, shape, { buffers: { x, delta, gamma, y }, ...bound }),
      combineNorm: experts === null ? null : await bindNorm(device, combineRmsNorm, { ...shape, ...combineConfig(spec, experts) }, {
        buffers: { x, delta, gamma, y, gates, expert_out: expertOut },
        ...bound,
      }),
      sumNorm: parts === null
        ? null
        : await bindNorm(device, sumRmsNorm, { ...parts.config, eps: spec.normEps }, { buffers: { x, gamma, y, ...parts.buffers }, ...bound }),
    }, outputNorm);
  }

  /** Records it. @returns whether normalising is left to the block */
  record(left: Pending, { phase, rows: { length: rows } }: Step, block: Block): boolean {
    const { device } = this.#context;
    const { norm, addNorm, combineNorm, sumNorm } = this.#kernels;
    const pending = this.#outputNorm?.record(left, rows) ?? left;
    switch (pending) {
      case "nothing":
        if (phase === "decode" && rows === 1 && block.normalises) return true;
        device.run(norm, { rows, first_row: 0 });
        return false;
      case "delta":
        device.run(addNorm, { rows });
        return false;
      case "experts":
        device.run(combineNorm!, { rows });
        return false;
      case "parts":
        device.run(sumNorm!, { rows });
        return false;
      case "shares":
        throw new LatentmeshError("internal", "A block was recorded after half of another");
      default:
        return pending satisfies never;
    }
  }
}

/** The linear layer that ends a block. In decode, a rank that has all of it adds its output to the residual stream at once; parts of ranks go by way of `delta`. */
export class BlockOutput {
  readonly #linear: Readonly<Record<Phase, Linear>>;
  readonly #pending: Readonly<Record<Phase, Pending>>;

  private constructor(linear: Readonly<Record<Phase, Linear>>, pending: Readonly<Record<Phase, Pending>>) {
    this.#linear = linear;
    this.#pending = pending;
  }

  /** Compiles and binds. @param input what it is of, and whether this rank has only a part of it */
  static async create(
    context: ModelContext,
    matrix: DeviceMatrix,
    { partial, ...input }: Pick<LinearBinding, "x" | "input" | "rounded"> & { readonly partial: boolean },
  ): Promise<BlockOutput> {
    const { activations: { x, delta }, both } = context;
    const [toDelta, toStream] = await Promise.all([
      Linear.create(context, matrix, { ...input, y: delta, most: partial ? both : { ...both, decode: 0 } }),
      partial ? null : Linear.create(context, matrix, { ...input, y: x, adds: true, most: { ...both, prefill: 0 } }),
    ]);
    if (toStream === null) return new BlockOutput({ prefill: toDelta, decode: toDelta }, { prefill: "parts", decode: "parts" });
    return new BlockOutput({ prefill: toDelta, decode: toStream }, { prefill: "delta", decode: "nothing" });
  }

  /** Records it. */
  run(phase: Phase, rows: number): Pending {
    this.#linear[phase].run(phase, rows);
    return this.#pending[phase];
  }
}

/** After the last block: the residual stream takes in what is pending. */
export class StreamEnd {
  readonly #device: Device;
  readonly #combine: BoundKernel<"tokens"> | null;
  readonly #add: BoundKernel<"rows">;
  readonly #sum: BoundKernel<"rows"> | null;
  readonly #outputNorm: OutputNorm | null;

  private constructor(
    device: Device,
    add: BoundKernel<"rows">,
    { combine, sum, outputNorm }: {
      readonly combine: BoundKernel<"tokens"> | null;
      readonly sum: BoundKernel<"rows"> | null;
      readonly outputNorm: OutputNorm | null;
    },
  ) {
    this.#device = device;
    this.#add = add;
    this.#combine = combine;
    this.#sum = sum;
    this.#outputNorm = outputNorm;
  }

  /** Compiles and binds. @param experts those of the last block, if there are any */
  static async create(context: ModelContext, experts: MoeWeights | null): Promise<StreamEnd> {
    const { device, spec, activations: { x, delta }, limits } = context;
    const most = { rows: mostRows(limits) };
    const add = (await device.compile(residualAdd, { width: spec.hiddenSize })).bind({ delta, x }, most);
    const parts = partsOf(context);
    const sum = parts === null ? null : (await device.compile(residualSum, parts.config)).bind({ x, ...parts.buffers }, most);
    const combine = experts === null ? null : await bindCombine(context, experts);
    return new StreamEnd(device, add, { combine, sum, outputNorm: await OutputNorm.create(context, experts) });
  }

  /** Records it. */
  record(left: Pending, rows: number): void {
    const pending = this.#outputNorm?.record(left, rows) ?? left;
    if (pending === "nothing") return;
    if (pending === "parts") return this.#device.run(this.#sum!, { rows });
    if (pending === "experts") this.#device.run(this.#combine!, { tokens: rows });
    this.#device.run(this.#add, { rows });
  }
}

/**
 * What experts give, where a model normalises it before the residual stream takes it in: all of it, the shared expert's and other ranks' parts too,
 * so that nothing can be added before it is there.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { sumParts } from "../../kernels/residual_add/sum_parts.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext } from "./context.ts";
import { bindNorm } from "./norm.ts";
import { bindCombine, partsOf, type Pending } from "./pending.ts";
import type { MoeWeights } from "./weights.ts";

/** Records x += norm(y), where y is in one buffer and its norm in another. */
type AddNormed = (rows: number) => void;

/** Adds the output of one layer's experts to the residual stream. */
export class OutputNorm {
  readonly #device: Device;
  readonly #combine: BoundKernel<"tokens">;
  readonly #sum: BoundKernel<"rows"> | null;
  readonly #addDelta: AddNormed;
  readonly #addSum: AddNormed;

  private constructor(
    device: Device,
    combine: BoundKernel<"tokens">,
    { sum, addDelta, addSum }: { readonly sum: BoundKernel<"rows"> | null; readonly addDelta: AddNormed; readonly addSum: AddNormed },
  ) {
    this.#device = device;
    this.#combine = combine;
    this.#sum = sum;
    this.#addDelta = addDelta;
    this.#addSum = addSum;
  }

  /** Compiles and binds; null where nothing is normalised. @param experts those of the block before, if there are any */
  static async create(context: ModelContext, experts: MoeWeights | null): Promise<OutputNorm | null> {
    if (experts === null || experts.outputNorm === null) return null;
    const { device, activations: { h, delta }, limits } = context;
    const gamma = experts.outputNorm;
    const parts = partsOf(context);
    // The input of the block is needed no more, nor is this rank's part once there is a sum.
    const [combine, sum, addDelta, addSum] = await Promise.all([
      bindCombine(context, experts),
      parts === null ? null : device.compile(sumParts, parts.config).then((sum) => sum.bind({ ...parts.buffers, y: h }, { rows: mostRows(limits) })),
      addNormed(context, gamma, { y: delta, normed: h }),
      addNormed(context, gamma, { y: h, normed: delta }),
    ]);
    return new OutputNorm(device, combine, { sum, addDelta, addSum });
  }

  /** Records it. @returns what is left to take in */
  record(pending: Pending, rows: number): Pending {
    switch (pending) {
      case "experts":
        this.#device.run(this.#combine, { tokens: rows });
        this.#addDelta(rows);
        return "nothing";
      case "delta":
        this.#addDelta(rows);
        return "nothing";
      case "parts":
        this.#device.run(this.#sum!, { rows });
        this.#addSum(rows);
        return "nothing";
      case "nothing":
        return "nothing";
      case "shares":
        throw new LatentmeshError("internal", "A block was recorded after half of another");
      default:
        return pending satisfies never;
    }
  }
}

async function addNormed(
  { device, spec: { hiddenSize: width, normEps: eps }, activations: { x }, limits }: ModelContext,
  gamma: DeviceBuffer,
  { y, normed }: { readonly y: DeviceBuffer; readonly normed: DeviceBuffer },
): Promise<AddNormed> {
  const most = { rows: mostRows(limits) };
  const [norm, add] = await Promise.all([
    bindNorm(device, rmsNorm, { width, inputStride: width, eps }, {
      buffers: { x: y, gamma, y: normed },
      rounded: null,
      most: { ...most, first_row: 0 },
    }),
    device.compile(residualAdd, { width }).then((add) => add.bind({ delta: normed, x }, most)),
  ]);
  return (rows) => {
    device.run(norm, { rows, first_row: 0 });
    device.run(add, { rows });
  };
}

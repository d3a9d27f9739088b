/**
 * One linear layer, bound: which kernel runs follows from the phase, which parts from how the matrix had to be split.
 *
 * @module
 */
import type { BoundKernel, CompiledKernel, Device, DeviceBuffer } from "../kernels/device.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../kernels/linear/linear.ts";
import { matmul, type MatmulConfig } from "../kernels/linear/matmul.ts";
import { fitsMatrixUnits, matmulUnits } from "../kernels/linear/matmul_units.ts";
import { matvec } from "../kernels/linear/matvec.ts";
import type { Select } from "../kernels/linear/select.ts";
import type { MoePlan } from "../kernels/moe_plan/layout.ts";
import type { DeviceMatrix } from "./weights.ts";

/**
 * How tokens are computed: `prefill` expands keys and multiplies in tiles, `decode` absorbs and multiplies row by row. The two add in different orders,
 * so whatever must be reproduced bit for bit is computed in the phase it was computed in first.
 */
export type Phase = "prefill" | "decode";

/** What a linear layer is bound to. */
export interface LinearBinding {
  readonly x: DeviceBuffer;
  readonly y: DeviceBuffer;
  /** Whether x holds gates and values, see {@link LinearConfig.input}; `plain` by default. */
  readonly input?: LinearConfig["input"];
  readonly select?: Select;
  /** `select: expert`: routes (decode) and plan (prefill). */
  readonly routes?: DeviceBuffer;
  readonly plan?: { readonly buffer: DeviceBuffer; readonly layout: MoePlan };
  /** Never rounds inputs or weights to f16, as matrix units do: for what small differences turn over, such as the choice of experts. */
  readonly precise?: boolean;
  /** Most items in each phase; 0: never run in it. */
  readonly most: Readonly<Record<Phase, number>>;
}

/** Where a linear layer runs. */
export interface LinearContext {
  readonly device: Device;
  /** Whether products may be f16 on matrix units. */
  readonly matrixUnits: boolean;
}

interface Variant {
  readonly bound: BoundKernel<LinearParams>;
  readonly part: Omit<Record<LinearParams, number>, "items">;
}

/** Rows that share one read of the weights when a decode step has more than one. */
const ITEMS_AT_ONCE = 4;

/** y[item] = W · x[item], over all parts of W. */
export class Linear {
  readonly #device: Device;
  readonly #single: readonly Variant[];
  readonly #several: readonly Variant[];
  readonly #tiled: readonly Variant[];
  readonly #params: Record<LinearParams, number> = { items: 0, first_output: 0, part_outputs: 0, first_matrix: 0, matrices: 0 };

  private constructor(device: Device, single: readonly Variant[], several: readonly Variant[], tiled: readonly Variant[]) {
    this.#device = device;
    this.#single = single;
    this.#several = several;
    this.#tiled = tiled;
  }

  /** Compiles and binds. */
  static async create({ device, matrixUnits }: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Linear> {
    const select = binding.select ?? { kind: "all" };
    const { layout, outputs } = matrix;
    const input = binding.input ?? "plain";
    const config = { layout, outputs, inputStride: input === "gated" ? 2 * layout.columns : layout.columns, input, select };
    const variants = (kernel: CompiledKernel<LinearBindings, LinearParams>, routes: DeviceBuffer | undefined, items: number) =>
      matrix.parts.map(({ first, count, weights, scales }): Variant => {
        const part = select.kind === "all"
          ? { first_output: first, part_outputs: count, first_matrix: 0, matrices: 1 }
          : { first_output: 0, part_outputs: matrix.outputs, first_matrix: first, matrices: count };
        const bound = kernel.bind({ weights, scales, routes: routes ?? scales, x: binding.x, y: binding.y }, { items, ...part });
        return { bound, part };
      });
    const vector = async (itemsAtOnce: number) =>
      binding.most.decode === 0 ? [] : variants(await device.compile(matvec, { ...config, itemsAtOnce }), binding.routes, binding.most.decode);
    const tiled = async () => {
      if (select.kind === "head" || binding.most.prefill === 0) return [];
      const tiles: MatmulConfig = { ...config, select, plan: binding.plan?.layout ?? null };
      const onUnits = matrixUnits && binding.precise !== true && fitsMatrixUnits(tiles, device.limits.maxWorkgroupBytes);
      return variants(await device.compile(onUnits ? matmulUnits : matmul, tiles), binding.plan?.buffer, binding.most.prefill);
    };
    const single = await vector(1);
    const several = select.kind === "all" ? await vector(ITEMS_AT_ONCE) : single;
    return new Linear(device, single, several, await tiled());
  }

  /** Records the multiplication of `items` rows. */
  run(phase: Phase, items: number): void {
    const variants = phase === "prefill" ? this.#tiled : items === 1 ? this.#single : this.#several;
    for (const { bound, part } of variants) this.#device.run(bound, Object.assign(this.#params, part, { items }));
  }
}

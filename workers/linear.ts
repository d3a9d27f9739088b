/**
 * One linear layer, bound: which kernel runs follows from the phase, which parts from how the matrix had to be split.
 *
 * @module
 */
import { ceilDiv } from "../core/numeric.ts";
import { Beside, type BesideSide } from "../kernels/beside.ts";
import type { Params } from "../kernels/contract.ts";
import type { BoundKernel, Device, DeviceBuffer } from "../kernels/device.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../kernels/linear/linear.ts";
import { matmul } from "../kernels/linear/matmul.ts";
import { fitsMatrixUnits, matmulUnits, tileItemsFor } from "../kernels/linear/matmul_units.ts";
import { matvec, type MatvecConfig } from "../kernels/linear/matvec.ts";
import { roundInput } from "../kernels/linear/round_input.ts";
import { itemsPerInput, type Select } from "../kernels/linear/select.ts";
import type { MoePlan } from "../kernels/moe_plan/layout.ts";
import type { Activations } from "./activations.ts";
import type { DeviceMatrix, MatrixPart } from "./weights.ts";

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
  readonly input?: "plain" | "gated";
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
  readonly activations: Pick<Activations, "rounded">;
}

type Part = Omit<Record<LinearParams, number>, "items">;

interface Variant {
  readonly bound: BoundKernel<LinearParams>;
  readonly part: Part;
}

/** Rows that share one read of the weights when a decode step has more than one. */
const ITEMS_AT_ONCE = 4;

/** y[item] = W · x[item], over all parts of W. */
export class Linear {
  readonly #device: Device;
  readonly #single: readonly Variant[];
  readonly #several: readonly Variant[];
  readonly #tiled: Tiled;
  readonly #params: Record<LinearParams, number> = { items: 0, first_output: 0, part_outputs: 0, first_matrix: 0, matrices: 0 };

  private constructor(device: Device, single: readonly Variant[], several: readonly Variant[], tiled: Tiled) {
    this.#device = device;
    this.#single = single;
    this.#several = several;
    this.#tiled = tiled;
  }

  /** Compiles and binds. */
  static async create(context: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Linear> {
    const { device } = context;
    const config = configOf(matrix, binding);
    const { select } = config;
    const vector = async (itemsAtOnce: number): Promise<Variant[]> => {
      if (binding.most.decode === 0) return [];
      const kernel = await device.compile(matvec, { ...config, itemsAtOnce });
      return matrix.parts.map((part) => {
        const { buffers, most } = decodeSide(matrix, part, binding, itemsAtOnce);
        return { bound: kernel.bind(buffers, most), part: paramsOf(matrix, select, part) };
      });
    };
    const single = await vector(1);
    const several = select.kind === "all" ? await vector(ITEMS_AT_ONCE) : single;
    return new Linear(device, single, several, await createTiled(context, matrix, binding));
  }

  /** Whether prefill rounds the inputs to f16. */
  get rounds(): boolean {
    return this.#tiled.round !== null;
  }

  /**
   * Records the multiplication of `items` rows.
   *
   * @param rounded whether the layer before has rounded the same inputs
   */
  run(phase: Phase, items: number, rounded = false): void {
    if (phase === "prefill" && !rounded) this.#tiled.round?.(items);
    const variants = phase === "prefill" ? this.#tiled.variants : items === 1 ? this.#single : this.#several;
    for (const { bound, part } of variants) this.#device.run(bound, Object.assign(this.#params, part, { items }));
  }
}

/** Outputs of a router up to which tiles are too few to keep a large GPU busy. */
const NARROW = 512;

/** The layer in tiles, for prefill. */
interface Tiled {
  /** Records the rounding of the inputs of `items` rows; null if they are taken as they are. */
  readonly round: ((items: number) => void) | null;
  readonly variants: readonly Variant[];
}

async function createTiled(context: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Tiled> {
  const { device, matrixUnits, activations: { rounded } } = context;
  const { layout, outputs, inputStride, input, select } = configOf(matrix, binding);
  if (select.kind === "head" || binding.most.prefill === 0) return { round: null, variants: [] };
  const tiles = { layout, outputs, inputStride, select, plan: binding.plan?.layout ?? null };
  const onUnitsConfig = { ...tiles, tileItems: tileItemsFor(binding.most.prefill, outputs), input: "rounded" as const };
  const onUnits = matrixUnits && binding.precise !== true && fitsMatrixUnits(onUnitsConfig, device.limits.maxWorkgroupBytes);
  const compile = () => {
    if (onUnits) return device.compile(matmulUnits, onUnitsConfig);
    const narrow = binding.precise === true && select.kind === "all" && outputs <= NARROW;
    if (narrow) return device.compile(matvec, { ...tiles, input, itemsAtOnce: ITEMS_AT_ONCE, manyItems: true });
    return device.compile(matmul, { ...tiles, input });
  };
  const kernel = await compile();
  const x = onUnits ? rounded : binding.x;
  const variants = matrix.parts.map((matrixPart) => {
    const part = paramsOf(matrix, select, matrixPart);
    const buffers = buffersOf(matrixPart, { ...binding, x }, binding.plan?.buffer);
    return { bound: kernel.bind(buffers, { items: binding.most.prefill, ...part }), part };
  });
  if (!onUnits) return { round: null, variants };
  const rowsOf = (items: number) => ceilDiv(items, itemsPerInput(select));
  const rounding = await device.compile(roundInput, { columns: layout.columns, inputStride, input });
  const bound = rounding.bind({ x: binding.x, y: rounded }, { rows: rowsOf(binding.most.prefill) });
  return { round: (items) => device.run(bound, { rows: rowsOf(items) }), variants };
}

/** A linear layer and something that does not read its result, nor it that thing's: one dispatch in decode, where both are short. */
export class LinearBeside<P extends string> {
  readonly #single: Beside<P, LinearParams>;
  readonly #several: Beside<P, LinearParams>;
  readonly #part: Part;

  private constructor(single: Beside<P, LinearParams>, several: Beside<P, LinearParams>, part: Part) {
    this.#single = single;
    this.#several = several;
    this.#part = part;
  }

  /**
   * Compiles and binds.
   *
   * @param other what runs beside it, given how the layer is divided
   * @returns null if the matrix had to be split, or the device does not allow as many bindings
   */
  static async create<C, B extends string, P extends string>(
    { device }: LinearContext,
    matrix: DeviceMatrix,
    binding: LinearBinding,
    other: (config: MatvecConfig) => BesideSide<C, B, P>,
    same: Partial<Record<LinearBindings, B>> = {},
  ): Promise<LinearBeside<P> | null> {
    if (matrix.parts.length !== 1) return null;
    const [part] = matrix.parts;
    const bind = (itemsAtOnce: number) => {
      const side = decodeSide(matrix, part, binding, itemsAtOnce);
      return Beside.create(device, other(side.config), side, same);
    };
    const [single, several] = [await bind(1), await bind(ITEMS_AT_ONCE)];
    return single === null || several === null ? null : new LinearBeside(single, several, paramsOf(matrix, { kind: "all" }, part));
  }

  /** Records both. */
  run(items: number, other: Params<P>): void {
    (items === 1 ? this.#single : this.#several).run(other, { ...this.#part, items });
  }
}

/** Two linear layers of one input. */
export class LinearPair {
  readonly #apart: readonly [Linear, Linear];
  readonly #beside: LinearBeside<LinearParams> | null;
  readonly #part: Part;

  private constructor(apart: readonly [Linear, Linear], beside: LinearBeside<LinearParams> | null, part: Part) {
    this.#apart = apart;
    this.#beside = beside;
    this.#part = part;
  }

  /** Compiles and binds. */
  static async create(
    context: LinearContext,
    first: { readonly matrix: DeviceMatrix; readonly binding: LinearBinding },
    second: { readonly matrix: DeviceMatrix; readonly binding: LinearBinding },
  ): Promise<LinearPair> {
    const [part] = first.matrix.parts;
    const beside = first.matrix.parts.length !== 1 ? null : await LinearBeside.create(
      context,
      second.matrix,
      second.binding,
      ({ itemsAtOnce }) => decodeSide(first.matrix, part, first.binding, itemsAtOnce),
      { x: "x", routes: "routes" },
    );
    const apart = async ({ matrix, binding }: typeof first) =>
      await Linear.create(context, matrix, beside === null ? binding : { ...binding, most: { ...binding.most, decode: 0 } });
    return new LinearPair([await apart(first), await apart(second)], beside, paramsOf(first.matrix, { kind: "all" }, part));
  }

  /** Records both multiplications of `items` rows. */
  run(phase: Phase, items: number): void {
    if (phase === "decode" && this.#beside !== null) return this.#beside.run(items, { ...this.#part, items });
    const [first, second] = this.#apart;
    first.run(phase, items);
    second.run(phase, items, first.rounds);
  }
}

/** A layer whose inputs are as they were computed. */
interface PlainConfig extends LinearConfig {
  readonly input: "plain" | "gated";
}

function configOf({ layout, outputs }: DeviceMatrix, { input = "plain", select = { kind: "all" } }: LinearBinding): PlainConfig {
  return { layout, outputs, inputStride: input === "gated" ? 2 * layout.columns : layout.columns, input, select };
}

function paramsOf(matrix: DeviceMatrix, select: Select, { first, count }: MatrixPart): Part {
  return select.kind === "all"
    ? { first_output: first, part_outputs: count, first_matrix: 0, matrices: 1 }
    : { first_output: 0, part_outputs: matrix.outputs, first_matrix: first, matrices: count };
}

function buffersOf({ weights, scales }: MatrixPart, { x, y }: LinearBinding, routes: DeviceBuffer | undefined): Record<LinearBindings, DeviceBuffer> {
  return { weights, scales, routes: routes ?? scales, x, y };
}

function decodeSide(
  matrix: DeviceMatrix,
  part: MatrixPart,
  binding: LinearBinding,
  itemsAtOnce: number,
): BesideSide<MatvecConfig, LinearBindings, LinearParams> {
  const config = configOf(matrix, binding);
  return {
    kernel: matvec,
    config: { ...config, itemsAtOnce },
    buffers: buffersOf(part, binding, binding.routes),
    most: { items: binding.most.decode, ...paramsOf(matrix, config.select, part) },
  };
}

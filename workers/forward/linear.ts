/**
 * One linear layer, bound: which kernel runs follows from the phase, which parts from how the matrix had to be split.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { BesideSide } from "../../kernels/device/beside.ts";
import type { BoundKernel, Device } from "../../kernels/device/device.ts";
import type { LinearParams } from "../../kernels/linear/linear.ts";
import { matmul } from "../../kernels/linear/matmul.ts";
import { divideUnits, matmulUnits, tileItemsFor, tileSizesFor, UNITS_TILE_SIZES } from "../../kernels/linear/matmul_units.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { type MoePlan, planFor } from "../../kernels/moe_plan/layout.ts";
import {
  buffersOf,
  configOf,
  decodeSides,
  type LinearBinding,
  type LinearContext,
  mostItems,
  paramsOf,
  type Part,
  type Phase,
  unnormedSide,
} from "./linear_binding.ts";
import { bindDecodeRounding, bindRounding, type Rounding } from "./rounding.ts";
import type { DeviceMatrix } from "./weights.ts";

interface Variant {
  readonly bound: BoundKernel<LinearParams>;
  readonly part: Part;
}

/** All parts, as steps of up to `upTo` rows are decoded. */
interface DecodeVariants {
  readonly upTo: number;
  readonly variants: readonly Variant[];
}

/** y[item] = W · x[item], over all parts of W. */
export class Linear {
  readonly #device: Device;
  readonly #itemsPerRow: number;
  readonly #decode: readonly DecodeVariants[];
  readonly #roundDecode: Rounding | null;
  readonly #unnormed: readonly Variant[] | null;
  readonly #tiled: Tiled;
  readonly #params: Record<LinearParams, number> = { items: 0, first_output: 0, part_outputs: 0, first_matrix: 0, matrices: 0 };

  private constructor(
    device: Device,
    itemsPerRow: number,
    variants: {
      readonly decode: readonly DecodeVariants[];
      readonly roundDecode: Rounding | null;
      readonly unnormed: readonly Variant[] | null;
      readonly tiled: Tiled;
    },
  ) {
    this.#device = device;
    this.#itemsPerRow = itemsPerRow;
    this.#decode = variants.decode;
    this.#roundDecode = variants.roundDecode;
    this.#unnormed = variants.unnormed;
    this.#tiled = variants.tiled;
  }

  /** Compiles and binds. */
  static async create(context: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Linear> {
    const { device } = context;
    const { parts } = matrix;
    const { select } = configOf(matrix, binding);
    const bind = <C, B extends string>(sides: readonly BesideSide<C, B, LinearParams>[]): Promise<Variant[]> =>
      Promise.all(sides.map(async ({ kernel, config, buffers, most }, i) => {
        const bound = (await device.compile(kernel, config)).bind(buffers, most);
        return { bound, part: paramsOf(matrix, select, parts[i]) };
      }));
    const sides = parts.map((part) => decodeSides(context, matrix, part, binding));
    const unnormedSides = parts.map((part) => unnormedSide(context, matrix, part, binding)).filter((side) => side !== null);
    const [decode, roundDecode, unnormed, tiled] = await Promise.all([
      Promise.all(sides[0].map(async ({ upTo }, i) => ({ upTo, variants: await bind(sides.map((ofPart) => ofPart[i].side)) }))),
      bindDecodeRounding(context, matrix, binding),
      unnormedSides.length === parts.length ? bind(unnormedSides) : null,
      createTiled(context, matrix, binding),
    ]);
    return new Linear(device, binding.itemsPerRow ?? 1, { decode, roundDecode, unnormed, tiled });
  }

  /** Whether {@link runUnnormed} is possible. */
  get normalises(): boolean {
    return this.#unnormed !== null;
  }

  /** Whether prefill rounds the inputs to f16. */
  get rounds(): boolean {
    return this.#tiled.round !== null;
  }

  /**
   * Records the multiplication of `rows` rows.
   *
   * @param rounded whether the layer before has rounded the same inputs of prefill
   */
  run(phase: Phase, rows: number, rounded = false): void {
    const items = rows * this.#itemsPerRow;
    if (phase === "prefill") {
      if (!rounded) this.#tiled.round?.(items);
      return this.#record(this.#tiled.variantsFor(items), items);
    }
    this.#roundDecode?.(items);
    this.#record(this.#decode.find(({ upTo }) => rows <= upTo)!.variants, items);
  }

  /** Records the multiplication of one row in decode, which the layer normalises itself. */
  runUnnormed(): void {
    this.#record(this.#unnormed!, 1);
  }

  #record(variants: readonly Variant[], items: number): void {
    for (const { bound, part } of variants) this.#device.run(bound, Object.assign(this.#params, part, { items }));
  }
}

/** Outputs of a router up to which tiles are too few to keep a large GPU busy; rows that then share a read of the weights. */
const [NARROW, ITEMS_AT_ONCE] = [512, 4];

/** The layer in tiles, for prefill. */
interface Tiled {
  /** Records the rounding of the inputs of `items` rows; null if they are taken as they are. */
  readonly round: Rounding | null;
  /** What multiplies so many items: the parts of the matrix. */
  variantsFor(items: number): readonly Variant[];
}

/** Whether a layer of prefill can take and give f16: on matrix units, in one part. */
export function takesHalves(
  { device, matrixUnits }: Pick<LinearContext, "device" | "matrixUnits">,
  { layout, outputs, parts }: DeviceMatrix,
): boolean {
  const fits = (tileItems: number) =>
    divideUnits({ layout, outputs, plan: null, tileItems, output: "f16" }, device.limits.maxWorkgroupBytes) !== null;
  return matrixUnits && parts.length === 1 && UNITS_TILE_SIZES.every(fits);
}

/** How a layer's items are put into tiles: by a plan, or so many after each other. */
interface Tiling {
  readonly plan: MoePlan | null;
  readonly tileItems: number;
}

/** As the plain kernels do, whose tiles have one size. */
const ANYHOW: Tiling = { plan: null, tileItems: 0 };

async function createTiled(context: LinearContext, matrix: DeviceMatrix, binding: LinearBinding): Promise<Tiled> {
  const { device, matrixUnits } = context;
  const { input, select, ...shape } = configOf(matrix, binding);
  const most = mostItems(binding, "prefill");
  if (select.kind === "head" || most === 0) return { round: null, variantsFor: () => [] };
  const output = binding.halves ? "f16" as const : "f32" as const;
  const firsts = select.kind === "all" ? matrix.parts.map(({ first }) => first) : [];
  const planned = binding.plan?.layouts.map((plan): Tiling => ({ plan, tileItems: plan.tileItems }));
  const possible = planned ?? tileSizesFor(most, shape.outputs).map((tileItems): Tiling => ({ plan: null, tileItems }));
  const divide = (tiling: Tiling) => divideUnits({ ...shape, ...tiling, output }, device.limits.maxWorkgroupBytes, firsts);
  const onUnits = matrixUnits && binding.precise === undefined && possible.every((tiling) => divide(tiling) !== null);
  invariant(onUnits || !binding.halves, "only matrix units take f16");
  const rounded = onUnits && !binding.halves ? binding.rounded?.prefill : binding.x;
  const x = rounded ?? context.activations.rounded;
  const compile = (tiling: Tiling) => {
    if (onUnits) return device.compile(matmulUnits, { ...shape, ...tiling, select, division: divide(tiling)!, input: "rounded", output });
    const { plan } = tiling;
    const narrow = binding.precise !== undefined && select.kind === "all" && shape.outputs <= NARROW;
    if (narrow) return device.compile(matvec, { ...shape, select, input, itemsAtOnce: ITEMS_AT_ONCE, manyItems: true });
    return device.compile(matmul, { ...shape, select, plan, input });
  };
  const variants = new Map(
    await Promise.all((planned !== undefined || onUnits ? possible : [ANYHOW]).map(async (tiling) => {
      const kernel = await compile(tiling);
      const parts = matrix.parts.map((matrixPart) => {
        const part = paramsOf(matrix, select, matrixPart);
        const buffers = buffersOf(matrixPart, { ...binding, x }, binding.plan?.buffer);
        return { bound: kernel.bind(buffers, { items: most, ...part }), part };
      });
      return [tiling.tileItems, parts] as const;
    })),
  );
  const tileItemsOf = (items: number) =>
    binding.plan === undefined ? tileItemsFor(items, shape.outputs) : planFor(binding.plan.layouts, items).tileItems;
  const variantsFor = (items: number) => variants.get(tileItemsOf(items)) ?? variants.get(ANYHOW.tileItems)!;
  return { round: rounded === undefined ? await bindRounding(context, matrix, binding, "prefill") : null, variantsFor };
}

/** The matrices of a stack as one matrix: their rows follow each other in memory. */
export function unstacked(stack: DeviceMatrix): DeviceMatrix {
  const rows = stack.outputs * stack.matrices;
  return { ...stack, outputs: rows, matrices: 1, parts: [{ ...stack.parts[0], first: 0, count: rows }] };
}

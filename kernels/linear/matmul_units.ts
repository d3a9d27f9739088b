/**
 * The linear layer for prefill on matrix units: f16 products, f32 sums. Inputs come rounded (round_input.ts).
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { planOf } from "../moe_plan/layout.ts";
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearParams } from "./linear.ts";
import { matmul, type MatmulConfig, tilesWgsl } from "./matmul.ts";
import source from "./matmul_units.wgsl" with { type: "text" };
import outputsF16 from "./outputs_f16.wgsl" with { type: "text" };
import outputsF32 from "./outputs_f32.wgsl" with { type: "text" };
import { MOST_F16 } from "./round_input.ts";
import { itemsPerInput } from "./select.ts";

/** Columns per step. */
const DEPTH = 32;
/** Bytes from one row of a step to the next in workgroup memory. */
const ROW_BYTES = DEPTH * 2 + 16;

/** As {@link MatmulConfig}, with x: [inputs, columns] in f16. */
export interface MatmulUnitsConfig extends Omit<MatmulConfig, "input"> {
  readonly input: "rounded";
  /** Precision of y; what f16 cannot hold becomes the largest that it can. */
  readonly output: "f32" | "f16";
  /** Items of a tile, 32, 64 or 128, where no plan says how many. */
  readonly tileItems: number;
}

/** Subgroups in items and outputs, and tiles of 16 x 16 that each of them sums in both directions. */
interface Division {
  readonly items: { readonly parts: number; readonly steps: number };
  readonly outputs: { readonly parts: number; readonly steps: number };
}

/** Items that a tile can have. */
export const UNITS_TILE_SIZES: readonly number[] = [128, 64, 32];
const [MOST_ITEMS] = UNITS_TILE_SIZES;
/** Tiles that keep a large GPU busy. */
const BUSY_TILES = 100;

/**
 * Items of a tile for so many items: half as many where that makes too few tiles, though each prepares its weights anew, or where they would be half empty. A
 * result is the same to the last bit in tiles of any size.
 */
export function tileItemsFor(items: number, outputs: number): number {
  const tiles = (tileItems: number) => ceilDiv(items, tileItems) * ceilDiv(outputs, tileOf(divide({ plan: null, tileItems })).outputs);
  return UNITS_TILE_SIZES.find((tileItems) => tiles(tileItems) >= BUSY_TILES && items > tileItems / 2) ?? UNITS_TILE_SIZES.at(-1)!;
}

/** Every answer of {@link tileItemsFor} for up to so many items, and those between. */
export function tileSizesFor(most: number, outputs: number): readonly number[] {
  const [longest, shortest] = [tileItemsFor(most, outputs), tileItemsFor(1, outputs)];
  return UNITS_TILE_SIZES.filter((tileItems) => tileItems <= longest && tileItems >= shortest);
}

function divide({ plan, tileItems }: Pick<MatmulUnitsConfig, "plan" | "tileItems">): Division {
  const items = plan?.tileItems ?? tileItems;
  if (items === MOST_ITEMS) return { items: { parts: 2, steps: 4 }, outputs: { parts: 2, steps: 4 } };
  return { items: { parts: 1, steps: items / 16 }, outputs: { parts: 4, steps: 2 } };
}

function tileOf({ items, outputs }: Division): { readonly items: number; readonly outputs: number } {
  return { items: items.parts * items.steps * 16, outputs: outputs.parts * outputs.steps * 16 };
}

/** As {@link matmul}, for inputs that were rounded and layers that {@link fitsMatrixUnits}. */
export const matmulUnits: Kernel<MatmulUnitsConfig, LinearBindings, LinearParams> = {
  name: "matmul_units",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl(config) {
    const division = divide(config);
    const tile = tileOf(division);
    const quads = quadsPerVector(config.layout.format);
    const threads = division.items.parts * division.outputs.parts * 32;
    const numbers = {
      OUTPUTS: config.outputs,
      DEPTH,
      TILE_ITEMS: tile.items,
      M_PARTS: division.items.parts,
      N_PARTS: division.outputs.parts,
      M_STEPS: division.items.steps,
      N_STEPS: division.outputs.steps,
      INPUT_LOADS: tile.items * DEPTH / 8 / threads,
      WEIGHT_LOADS: tile.outputs * DEPTH / (4 * quads) / threads,
      QUAD_PAIRS: quads / 2,
      ITEMS_PER_INPUT: itemsPerInput(config.select),
    };
    const facts = `const CONSECUTIVE = ${config.select.kind === "all"};\nconst WEIGHTS_ARE_HALVES = ${config.layout.format === "f16"};\n`;
    const parts = sectionsOf(config.output === "f16" ? outputsF16 : outputsF32);
    return constants(numbers) + facts + halves + weightFormatWgsl(config.layout) + tilesWgsl(config) + unroll(fill(source, parts), numbers);
  },
  workgroups(config, params) {
    const tile = tileOf(divide(config));
    const tiles = config.plan === null ? ceilDiv(params.items, tile.items) : planOf({ ...config.plan, items: params.items }).mostTiles;
    return [ceilDiv(params.part_outputs, tile.outputs), tiles, 1];
  },
  sizes(config, params) {
    const { y, ...inputs } = matmul.sizes(config, params);
    return { ...inputs, y: config.output === "f16" ? y / 2 : y };
  },
  reference(config, buffers, params) {
    if (config.output === "f32") return matmul.reference(config, buffers, params);
    const f32 = new Float32Array(params.items * config.outputs);
    // Items of matrices that are not bound are left alone.
    f32.set(buffers.y.f16.subarray(0, f32.length));
    matmul.reference(config, { ...buffers, y: { ...buffers.y, f32 } }, params);
    f32.forEach((value, i) => buffers.y.f16[i] = Math.max(-MOST_F16, Math.min(MOST_F16, value)));
  },
};

/**
 * Whether {@link matmulUnits} can do a layer: rows in whole steps, outputs in whole pieces, and not in f32, which asks for more than f16 products give.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 * @param firsts where the parts of a matrix begin
 */
export function fitsMatrixUnits(
  config: Pick<MatmulUnitsConfig, "layout" | "outputs" | "plan" | "tileItems" | "output">,
  workgroupLimit: number,
  firsts: readonly number[] = [],
): boolean {
  const { layout, outputs, output } = config;
  const tile = tileOf(divide(config));
  const vector = 4 * quadsPerVector(layout.format);
  const piece = output === "f16" ? 8 : 4;
  return layout.format !== "f32" && layout.columns % DEPTH === 0 && (layout.group === 0 || layout.group % vector === 0) &&
    [outputs, ...firsts].every((first) => first % piece === 0) && (tile.items + tile.outputs) * ROW_BYTES <= workgroupLimit;
}

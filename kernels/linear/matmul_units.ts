/**
 * The linear layer for prefill on matrix units: f16 products, f32 sums. Inputs come rounded (round_input.ts).
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { planOf } from "../moe_plan/layout.ts";
import { unroll } from "../unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../weight_format/weight_format.ts";
import halves from "../halves.wgsl" with { type: "text" };
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearParams } from "./linear.ts";
import { matmul, type MatmulConfig, tilesWgsl } from "./matmul.ts";
import source from "./matmul_units.wgsl" with { type: "text" };
import { itemsPerInput } from "./select.ts";

/** Columns per step. */
const DEPTH = 32;
/** Bytes from one row of a step to the next in workgroup memory. */
const ROW_BYTES = DEPTH * 2 + 16;

/** As {@link MatmulConfig}, with x: [inputs, columns] in f16. */
export interface MatmulUnitsConfig extends Omit<MatmulConfig, "input"> {
  readonly input: "rounded";
  /** Items of a tile, 32, 64 or 128, where no plan says how many. */
  readonly tileItems: number;
}

/** Subgroups in items and outputs, and tiles of 16 x 16 that each of them sums in both directions. */
interface Division {
  readonly items: { readonly parts: number; readonly steps: number };
  readonly outputs: { readonly parts: number; readonly steps: number };
}

/** Most and least items of a tile. */
const [MOST_ITEMS, LEAST_ITEMS] = [128, 32];
/** Tiles that keep a large GPU busy. */
const BUSY_TILES = 100;

/** Items of a tile for a layer of up to so many items: half as many where that makes too few tiles, though each prepares its weights anew. */
export function tileItemsFor(items: number, outputs: number): number {
  const tiles = (tileItems: number) => ceilDiv(items, tileItems) * ceilDiv(outputs, tileOf(divide({ plan: null, tileItems })).outputs);
  let tileItems = MOST_ITEMS;
  while (tileItems > LEAST_ITEMS && tiles(tileItems) < BUSY_TILES) tileItems /= 2;
  return tileItems;
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
    return constants(numbers) + facts + halves + weightFormatWgsl(config.layout) + tilesWgsl(config) + unroll(source, numbers);
  },
  workgroups(config, params) {
    const tile = tileOf(divide(config));
    const tiles = config.plan === null ? ceilDiv(params.items, tile.items) : planOf({ ...config.plan, items: params.items }).mostTiles;
    return [ceilDiv(params.part_outputs, tile.outputs), tiles, 1];
  },
  sizes: matmul.sizes,
  reference: matmul.reference,
};

/**
 * Whether {@link matmulUnits} can do a layer: rows in whole steps, and not in f32, which asks for more than f16 products give.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function fitsMatrixUnits(config: Pick<MatmulUnitsConfig, "layout" | "plan" | "tileItems">, workgroupLimit: number): boolean {
  const { layout } = config;
  const tile = tileOf(divide(config));
  const vector = 4 * quadsPerVector(layout.format);
  return layout.format !== "f32" && layout.columns % DEPTH === 0 && (layout.group === 0 || layout.group % vector === 0) &&
    (tile.items + tile.outputs) * ROW_BYTES <= workgroupLimit;
}

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
import { octetsWgsl } from "../authoring/weight_format/octets.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams } from "./linear.ts";
import { matmul, type MatmulConfig, tilesWgsl } from "./matmul.ts";
import source from "./matmul_units.wgsl" with { type: "text" };
import outputsF16 from "./outputs_f16.wgsl" with { type: "text" };
import outputsF32 from "./outputs_f32.wgsl" with { type: "text" };
import { MOST_F16 } from "./round_input.ts";
import { itemsPerInput } from "./select.ts";

/** As {@link MatmulConfig}, with x: [inputs, columns] in f16. */
export interface MatmulUnitsConfig extends Omit<MatmulConfig, "input"> {
  readonly input: "rounded";
  /** Precision of y; what f16 cannot hold becomes the largest that it can. */
  readonly output: "f32" | "f16";
  /** Items of a tile, 32, 64 or 128, where no plan says how many. */
  readonly tileItems: number;
  /** What {@link divideUnits} says. */
  readonly division: UnitsDivision;
}

/** How a tile is computed. */
export interface UnitsDivision {
  /** Columns of a step: what is read together, while the step before it is multiplied. */
  readonly depth: number;
  /** Subgroups in items and outputs, and tiles of 16 x 16 that each of them sums in both directions. */
  readonly items: { readonly parts: number; readonly steps: number };
  readonly outputs: { readonly parts: number; readonly steps: number };
}

/** Items that a tile can have. */
export const UNITS_TILE_SIZES: readonly number[] = [128, 64, 32];
const [MOST_ITEMS] = UNITS_TILE_SIZES;
/** Tiles that keep a large GPU busy. */
const BUSY_TILES = 100;

/**
 * Scalings whose weights are widened in f32: with bf16, 4096³ of int4 take 0.55 ms so and 0.62 otherwise; with f32, f16 and f16-zero it is the other way round (H200,
 * Dawn). Not found why.
 */
const WIDENED = ["bf16"] as const;

/**
 * Items of a tile for so many items: half as many where that makes too few tiles, though each prepares its weights anew, or where they would be half empty. A
 * result is the same to the last bit in tiles of any size.
 */
export function tileItemsFor(items: number, outputs: number): number {
  const tiles = (tileItems: number) => ceilDiv(items, tileItems) * ceilDiv(outputs, tileOf(divisionsOf({ plan: null, tileItems })[0]).outputs);
  return UNITS_TILE_SIZES.find((tileItems) => tiles(tileItems) >= BUSY_TILES && items > tileItems / 2) ?? UNITS_TILE_SIZES.at(-1)!;
}

/** Every answer of {@link tileItemsFor} for up to so many items, and those between. */
export function tileSizesFor(most: number, outputs: number): readonly number[] {
  const [longest, shortest] = [tileItemsFor(most, outputs), tileItemsFor(1, outputs)];
  return UNITS_TILE_SIZES.filter((tileItems) => tileItems <= longest && tileItems >= shortest);
}

type Tiling = Pick<MatmulUnitsConfig, "plan" | "tileItems">;

/**
 * Divisions of a tile, the best first, as far as that was measured (bench/NOTES.md). Long tiles multiply, and have enough to do meanwhile; short ones read, and
 * need more under way. Experts' weights are read once whatever the tile, so theirs are wide; where an input's tiles are few, more of them keep more processors busy.
 */
function divisionsOf({ plan, tileItems }: Tiling): readonly UnitsDivision[] {
  const items = plan?.tileItems ?? tileItems;
  if (items === MOST_ITEMS) return [{ depth: 32, items: { parts: 2, steps: 4 }, outputs: { parts: 2, steps: 4 } }];
  const divided = (depth: number, parts: number, steps: number) => ({ depth, items: { parts: 1, steps: items / 16 }, outputs: { parts, steps } });
  if (items === 64) return [plan === null ? divided(64, 4, 2) : divided(64, 8, 2), divided(32, 4, 2)];
  return [plan === null ? divided(64, 4, 1) : divided(64, 4, 2), divided(32, 4, 2)];
}

/** Items and outputs of a tile. */
export function tileOf({ items, outputs }: UnitsDivision): { readonly items: number; readonly outputs: number } {
  return { items: items.parts * items.steps * 16, outputs: outputs.parts * outputs.steps * 16 };
}

/** What {@link unitsWgsl} is told of items. */
interface UnitsItems {
  /** `tile_of(index)` and `item_of(tile, i)`. */
  readonly tiles: string;
  /** How far apart a tile's items are; null if anyhow. */
  readonly itemStep: number | null;
  /** Which row of y an `item` is. */
  readonly place: string;
}

/** The source. */
export function unitsWgsl(
  config: Omit<MatmulUnitsConfig, "plan" | "select"> & Pick<LinearConfig, "select">,
  { tiles, itemStep, place }: UnitsItems,
): string {
  const { division } = config;
  const { depth } = division;
  const tile = tileOf(division);
  const quads = quadsPerVector(config.layout.format);
  const threads = division.items.parts * division.outputs.parts * 32;
  const numbers = {
    OUTPUTS: config.outputs,
    DEPTH: depth,
    TILE_ITEMS: tile.items,
    M_PARTS: division.items.parts,
    N_PARTS: division.outputs.parts,
    M_STEPS: division.items.steps,
    N_STEPS: division.outputs.steps,
    INPUT_LOADS: tile.items * depth / 8 / threads,
    WEIGHT_LOADS: tile.outputs * depth / (4 * quads) / threads,
    QUAD_PAIRS: quads / 2,
    ITEMS_PER_INPUT: itemsPerInput(config.select),
    ITEM_STEP: itemStep ?? 1,
  };
  const facts = `const EVEN = ${itemStep !== null};\nconst WEIGHTS_ARE_HALVES = ${config.layout.format === "f16"};\n` +
    `fn place_of(item: u32) -> u32 { return (${place}) * OUTPUTS; }\n`;
  const parts = sectionsOf(config.output === "f16" ? outputsF16 : outputsF32);
  return constants(numbers) + facts + halves + weightFormatWgsl(config.layout) + octetsWgsl(config.layout, WIDENED) + tiles +
    unroll(fill(source, parts), numbers);
}

/** As {@link matmul}, for inputs that were rounded and layers that {@link divideUnits} divides. */
export const matmulUnits: Kernel<MatmulUnitsConfig, LinearBindings, LinearParams> = {
  name: "matmul_units",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl: (config) => unitsWgsl(config, { tiles: tilesWgsl(config), itemStep: config.select.kind === "all" ? 1 : null, place: "item" }),
  workgroups(config, params) {
    const tile = tileOf(config.division);
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
 * How {@link matmulUnits} divides a layer's tiles; null if it cannot do the layer: rows come in whole steps, outputs in whole pieces, and not in f32, which asks for
 * more than f16 products give. A result is the same to the last bit however it is divided.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 * @param firsts where the parts of a matrix begin
 */
export function divideUnits(
  config: Pick<MatmulUnitsConfig, "layout" | "outputs" | "plan" | "tileItems" | "output">,
  workgroupLimit: number,
  firsts: readonly number[] = [],
): UnitsDivision | null {
  const { layout: { format, columns, group }, outputs, output } = config;
  const vector = 4 * quadsPerVector(format);
  const piece = output === "f16" ? 8 : 4;
  if (format === "f32" || (group !== 0 && group % vector !== 0) || [outputs, ...firsts].some((first) => first % piece !== 0)) return null;
  const fits = (division: UnitsDivision) => {
    const tile = tileOf(division);
    // A row of a step, and what puts the next one into other banks.
    return columns % division.depth === 0 && (tile.items + tile.outputs) * (division.depth * 2 + 16) <= workgroupLimit;
  };
  return divisionsOf(config).find(fits) ?? null;
}

/**
 * Linear layer for decode on matrix units: f16 products, f32 sums. Inputs come rounded (round_input.ts), or are rounded as they are staged.
 *
 * @module
 */
import type { WeightFormat } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../contract.ts";
import halves from "../halves.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../sections.ts";
import { unroll } from "../unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../weight_format/weight_format.ts";
import { batchGrid, batchItemsWgsl, foundBytes } from "./batch_items.ts";
import source from "./batch_units.wgsl" with { type: "text" };
import { inputWgsl, LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import { itemsPerInput } from "./select.ts";
import { matvec } from "./matvec.ts";
import inputsF16 from "./units_inputs_f16.wgsl" with { type: "text" };
import inputsF32 from "./units_inputs_f32.wgsl" with { type: "text" };
import whenEach from "./units_when.wgsl" with { type: "text" };
import whenTogether from "./units_when_together.wgsl" with { type: "text" };
import read from "./units_read.wgsl" with { type: "text" };

/** How workgroups divide the work. Only `columnParts` has a say in the bits of a result. */
export interface UnitsDivision {
  /** Subgroups that take 16 columns each in turn. */
  readonly columnParts: number;
  /** Subgroups that take different outputs, and fours of four outputs of each. */
  readonly outputParts: number;
  readonly outputTiles: number;
  /** Items at a time. Matrix units multiply 16; if there are fewer, the rest is for nobody. */
  readonly items: number;
  /** Columns of a step, which is what is in workgroup memory. */
  readonly depth: number;
  /** Steps whose weights are on their way together. */
  readonly ahead: number;
  /** Steps in workgroup memory: with two, storing one does not wait for whoever multiplies the other. */
  readonly buffers: 1 | 2;
  /** When they are read, and whether the weights' binding may be written as far as the driver knows; to be measured. */
  readonly reads?: "writable" | "together";
}

/** {@link LinearConfig} for several items of a matrix. */
export interface BatchUnitsConfig extends LinearConfig {
  readonly division: UnitsDivision;
  /** Most items that one matrix of a stack may have. */
  readonly mostItems: number;
  /** Whether y takes the product in, instead of being it. */
  readonly adds?: boolean;
}

/** Threads of a workgroup. */
export function unitsThreads({ columnParts, outputParts }: UnitsDivision): number {
  return columnParts * outputParts * 32;
}

/** Outputs of a workgroup. */
function tileOutputsOf({ outputParts, outputTiles }: UnitsDivision): number {
  return outputParts * outputTiles * 16;
}

/** Matrices of sums that a subgroup stores at a time, and vectors of workgroup memory in all. */
function memoryOf(division: UnitsDivision): { readonly sumsAtOnce: number; readonly vectors: number } {
  const { items, depth, outputTiles, buffers } = division;
  const steps = (items + tileOutputsOf(division)) * (depth / 8 + 1) * buffers;
  const sums = (atOnce: number) => unitsThreads(division) / 32 * 16 * (atOnce * 4 + 1);
  let sumsAtOnce = outputTiles;
  while (sumsAtOnce > 1 && (outputTiles % sumsAtOnce !== 0 || sums(sumsAtOnce) > steps)) sumsAtOnce--;
  return { sumsAtOnce, vectors: Math.max(steps, sums(sumsAtOnce)) };
}

/** Bytes of each variable in workgroup memory. */
export function batchUnitsBytes(config: Pick<BatchUnitsConfig, "division" | "select" | "mostItems">): readonly number[] {
  return [...foundBytes(config), memoryOf(config.division).vectors * 16];
}

/**
 * Whether {@link batchUnits} can do a layer: not in f32, which asks for more than f16 products give, with one scale for all weights of a vector, and rounded inputs in
 * whole octets.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function fitsBatchUnits(
  config: Pick<BatchUnitsConfig, "layout" | "division" | "select" | "mostItems"> & Partial<Pick<BatchUnitsConfig, "input">>,
  workgroupLimit: number,
): boolean {
  const { layout: { format, group, columns }, input, division: { depth } } = config;
  const vector = 4 * quadsPerVector(format);
  return format !== "f32" && (input !== "rounded" || columns % 8 === 0) && depth % vector === 0 && group % vector === 0 &&
    workgroupMemory(batchUnitsBytes(config)) <= workgroupLimit;
}

/** y[item, first_output + o] (+)= Σ_k W[matrix of item][o, k] · x[input of item, k]; what an item gets depends on no other item. */
export const batchUnits: Kernel<BatchUnitsConfig, LinearBindings, LinearParams> = {
  name: "batch_units",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl(config) {
    const { layout, division, outputs } = config;
    const { columnParts, outputParts, outputTiles, items, depth, ahead, buffers } = division;
    const threads = unitsThreads(division);
    const quads = quadsPerVector(layout.format);
    const { sumsAtOnce, vectors } = memoryOf(division);
    const numbers = {
      OUTPUTS: outputs,
      THREADS: threads,
      TILE_OUTPUTS: tileOutputsOf(division),
      TILE_ITEMS: items,
      DEPTH: depth,
      AHEAD: ahead,
      BUFFERS: buffers,
      K_PARTS: columnParts,
      K_STEPS: depth / 16 / columnParts,
      N_PARTS: outputParts,
      N_STEPS: outputTiles,
      M_STEPS: ceilDiv(items, 16),
      INPUT_LOADS: ceilDiv(items * depth / 8, threads),
      WEIGHT_LOADS: ceilDiv(tileOutputsOf(division) * depth / (4 * quads), threads),
      QUAD_PAIRS: quads / 2,
      SUMS_AT_ONCE: sumsAtOnce,
      SUM_ROUNDS: outputTiles / sumsAtOnce,
      MEMORY_VECTORS: vectors,
    };
    const facts = `const ADDS = ${config.adds ?? false};\nconst WEIGHTS_ARE_HALVES = ${("f16" satisfies WeightFormat) === layout.format};\n`;
    const rounded = config.input === "rounded";
    const inputs = rounded ? constants({ INPUT_STRIDE: layout.columns, ITEMS_PER_INPUT: itemsPerInput(config.select) }) : inputWgsl(config);
    const when = sectionsOf(division.reads === "together" ? whenTogether : whenEach);
    const sections = { ...sectionsOf(read), ...sectionsOf(rounded ? inputsF16 : inputsF32), read_together: when.together, read_each: when.each };
    const written = (wgsl: string) =>
      division.reads === undefined ? wgsl : wgsl.replace(/<storage, read> (weights|x):/g, "<storage, read_write> $1:");
    const filled = written(fill(source, sections));
    return constants(numbers) + facts + halves + weightFormatWgsl(layout) + inputs + batchItemsWgsl(config) + unroll(filled, numbers);
  },
  workgroupBytes: batchUnitsBytes,
  workgroups: ({ division, ...config }, params) => batchGrid(config, { items: division.items, outputs: tileOutputsOf(division) }, params),
  sizes: (config, params) => linearSizes(config, params, params.items),
  reference: (config, buffers, params) => matvec.reference({ ...config, itemsAtOnce: 1 }, buffers, params),
};

/** The same with weights and inputs that may be written, as far as the driver knows. */
export const batchUnitsWritable: Kernel<BatchUnitsConfig, LinearBindings, LinearParams> = {
  ...batchUnits,
  bindings: { ...LINEAR_BINDINGS, weights: "read_write", x: "read_write" },
};

/**
 * Linear layer for decode on matrix units: f16 products, f32 sums. Inputs come in f16 (`round_input.ts`), and what is given can be what the next such layer takes.
 *
 * @module
 */
import type { WeightFormat } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import { octetsWgsl } from "../authoring/weight_format/octets.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import { batchGrid, batchItemsWgsl, foundBytes } from "./batch_items.ts";
import source from "./batch_units.wgsl" with { type: "text" };
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import { matvec } from "./matvec.ts";
import { MOST_F16 } from "./round_input.ts";
import { itemsPerInput, matrixOf } from "./select.ts";
import activated from "./units_activated.wgsl" with { type: "text" };
import inF16 from "./units_f16.wgsl" with { type: "text" };
import inF32 from "./units_f32.wgsl" with { type: "text" };
import read from "./units_read.wgsl" with { type: "text" };

/** How workgroups divide the work. Only `columnParts` has a say in the bits of a result. */
export interface UnitsDivision {
  /** Subgroups that take 16 columns each in turn. */
  readonly columnParts: number;
  /** Subgroups that take different outputs, and sixteens of outputs of each. */
  readonly outputParts: number;
  readonly outputTiles: number;
  /** Items at a time. Matrix units multiply 16; if there are fewer, the rest is for nobody. */
  readonly items: number;
  /** Columns of a step, which is what is in workgroup memory. */
  readonly depth: number;
  /** Steps that are on their way together. */
  readonly ahead: number;
}

/**
 * What y is: the sums; the sums in f16; or of a layer whose outputs are gates and then as many values, silu(gate) · value in f16. What f16 cannot hold becomes the
 * largest that it can.
 */
export type UnitsOutput = "f32" | "f16" | "activated";

/** {@link LinearConfig} for several items of a matrix. */
export interface BatchUnitsConfig extends LinearConfig {
  readonly input: "rounded";
  readonly division: UnitsDivision;
  readonly output: UnitsOutput;
  /** Most items that one matrix of a stack may have. */
  readonly mostItems: number;
  /** Whether y, in f32, takes the product in, instead of being it. */
  readonly adds?: boolean;
}

const OUTPUTS: Readonly<Record<UnitsOutput, string>> = { f32: inF32, f16: inF16, activated };

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
  const { items, depth, outputTiles } = division;
  const step = (items + tileOutputsOf(division)) * (depth / 8 + 1);
  const sums = (atOnce: number) => unitsThreads(division) / 32 * 16 * (atOnce * 4 + 1);
  let sumsAtOnce = outputTiles;
  while (sumsAtOnce > 1 && (outputTiles % sumsAtOnce !== 0 || sums(sumsAtOnce) > step)) sumsAtOnce--;
  return { sumsAtOnce, vectors: Math.max(step, sums(sumsAtOnce)) };
}

/** Bytes of each variable in workgroup memory. */
export function batchUnitsBytes(config: Pick<BatchUnitsConfig, "division" | "select" | "mostItems">): readonly number[] {
  return [...foundBytes(config), memoryOf(config.division).vectors * 16];
}

/**
 * Whether {@link batchUnits} can do a layer: not in f32, which asks for more than f16 products give, with one scale for all weights of a vector, and inputs in whole
 * octets.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function fitsBatchUnits(config: Pick<BatchUnitsConfig, "layout" | "division" | "select" | "mostItems">, workgroupLimit: number): boolean {
  const { layout: { format, group, columns }, division: { depth } } = config;
  const vector = 4 * quadsPerVector(format);
  return format !== "f32" && columns % 8 === 0 && depth % vector === 0 && group % vector === 0 &&
    workgroupMemory(batchUnitsBytes(config)) <= workgroupLimit;
}

/** Whether it can give so: rows of y are whole words; gates and values are to be in one part of the matrix. */
export function fitsUnitsOutput(outputs: number, output: UnitsOutput): boolean {
  return outputs % { f32: 1, f16: 2, activated: 4 }[output] === 0;
}

/** y[item, first_output + o] (+)= Σ_k W[matrix of item][o, k] · x[input of item, k]; what an item gets depends on no other item. */
export const batchUnits: Kernel<BatchUnitsConfig, LinearBindings, LinearParams> = {
  name: "batch_units",
  // Neither weights nor inputs are written. Of what might be, drivers leave loads where they are, see the shader.
  bindings: { ...LINEAR_BINDINGS, weights: "read_write", x: "read_write" },
  params: LINEAR_PARAMS,
  wgsl(config) {
    const { layout, division, outputs, output, select } = config;
    const { columnParts, outputParts, outputTiles, items, depth, ahead } = division;
    const threads = unitsThreads(division);
    const quads = quadsPerVector(layout.format);
    const { sumsAtOnce, vectors } = memoryOf(division);
    const numbers = {
      OUTPUTS: outputs,
      THREADS: threads,
      TILE_OUTPUTS: tileOutputsOf(division),
      TILE_ITEMS: items,
      ITEMS_PER_INPUT: itemsPerInput(select),
      DEPTH: depth,
      AHEAD: ahead,
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
    const filled = fill(source, { ...sectionsOf(read), ...sectionsOf(OUTPUTS[output]) });
    return constants(numbers) + facts + halves + weightFormatWgsl(layout) + octetsWgsl(layout) + batchItemsWgsl(config) + unroll(filled, numbers);
  },
  workgroupBytes: batchUnitsBytes,
  workgroups: ({ division, ...config }, params) => batchGrid(config, { items: division.items, outputs: tileOutputsOf(division) }, params),
  sizes(config, params) {
    const { y, ...read } = linearSizes(config, params, params.items);
    return { ...read, y: y / { f32: 1, f16: 2, activated: 4 }[config.output] };
  },
  reference(config, buffers, params) {
    const { output, outputs } = config;
    if (output === "f32") return matvec.reference({ ...config, itemsAtOnce: 1 }, buffers, params);
    const { routes, y } = buffers;
    const f32 = new Float32Array(params.items * outputs);
    // Of rows that are not bound, what is there stays.
    if (output === "f16") f32.set(y.f16.subarray(0, f32.length));
    matvec.reference({ ...config, itemsAtOnce: 1 }, { ...buffers, y: { ...y, f32 } }, params);
    const width = output === "activated" ? outputs / 2 : outputs;
    for (let i = 0; i < params.items * width; i++) {
      const item = Math.floor(i / width);
      const matrix = matrixOf(config.select, item, routes.u32);
      if (matrix < params.first_matrix || matrix >= params.first_matrix + params.matrices) continue;
      const at = item * outputs + i % width;
      const value = output === "f16" ? f32[at] : f32[at] / (1 + Math.exp(-f32[at])) * f32[at + width];
      y.f16[i] = Math.max(-MOST_F16, Math.min(MOST_F16, value));
    }
  },
};

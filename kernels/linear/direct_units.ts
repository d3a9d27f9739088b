/**
 * Linear layer for decode on matrix units, of weights that are in f16 already.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../contract.ts";
import halves from "../halves.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../sections.ts";
import { unroll } from "../unroll.ts";
import { weightFormatWgsl } from "../weight_format/weight_format.ts";
import { batchGrid, batchItemsWgsl, foundBytes } from "./batch_items.ts";
import inputsDirect from "./direct_inputs.wgsl" with { type: "text" };
import inputsStaged from "./direct_inputs_staged.wgsl" with { type: "text" };
import source from "./direct_units.wgsl" with { type: "text" };
import { inputWgsl, LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import { matvec } from "./matvec.ts";
import { itemsPerInput } from "./select.ts";
import inputsF16 from "./units_inputs_f16.wgsl" with { type: "text" };
import inputsF32 from "./units_inputs_f32.wgsl" with { type: "text" };

/** How workgroups divide the work. Only `columnParts` has a say in the bits of a result. */
export interface DirectDivision {
  /** Subgroups that have a stretch of the columns each. */
  readonly columnParts: number;
  /** Subgroups that take different outputs, and sixteens of outputs of each. */
  readonly outputParts: number;
  readonly outputTiles: number;
  /** Items at a time, in sixteens. */
  readonly items: number;
  /** Matrices of 16 columns that are on their way together. */
  readonly round: number;
  /** How weights lie: `tiles`, matrices of 16 × 16 after each other, or `rows`. */
  readonly weights: "tiles" | "rows";
  /** How inputs come: by way of workgroup memory, or from where they lie, like weights. */
  readonly inputs: "staged" | "tiles" | "rows";
}

/** {@link LinearConfig} for several items of a matrix. */
export interface DirectUnitsConfig extends LinearConfig {
  readonly division: DirectDivision;
  /** Most items that one matrix of a stack may have. */
  readonly mostItems: number;
  /** Whether y takes the product in, instead of being it. */
  readonly adds?: boolean;
}

/** Vectors of a matrix of zeros. */
const ZEROS = 32;

function threadsOf({ columnParts, outputParts }: DirectDivision): number {
  return columnParts * outputParts * 32;
}

function tileOutputsOf({ outputParts, outputTiles }: DirectDivision): number {
  return outputParts * outputTiles * 16;
}

/** Vectors of a row of inputs in workgroup memory, and of a round of them. */
function stagedOf({ columnParts, round, items }: DirectDivision): { readonly stride: number; readonly vectors: number } {
  const stride = columnParts * round * 2 + 1;
  return { stride, vectors: roundUp(items, 16) * stride };
}

/** Matrices of sums that a subgroup stores at a time, and vectors of workgroup memory in all. */
function memoryOf(division: DirectDivision): { readonly sumsAtOnce: number; readonly vectors: number } {
  const { outputTiles, inputs } = division;
  const staged = inputs === "staged" ? 2 * stagedOf(division).vectors : 0;
  const sums = (atOnce: number) => threadsOf(division) / 32 * 16 * (atOnce * 4 + 1);
  let sumsAtOnce = outputTiles;
  while (sumsAtOnce > 1 && (outputTiles % sumsAtOnce !== 0 || sums(sumsAtOnce) > staged)) sumsAtOnce--;
  return { sumsAtOnce, vectors: inputs === "staged" ? Math.max(staged, sums(sumsAtOnce)) : sums(sumsAtOnce) + ZEROS };
}

/** Bytes of each variable in workgroup memory. */
function directUnitsBytes(config: Pick<DirectUnitsConfig, "division" | "select" | "mostItems">): readonly number[] {
  return [...foundBytes(config), memoryOf(config.division).vectors * 16];
}

/** Whether {@link directUnits} can do a layer. */
export function fitsDirectUnits(config: Omit<DirectUnitsConfig, "inputStride">, workgroupLimit: number): boolean {
  const { layout: { format, columns }, outputs, input, select, division: { columnParts, round, inputs } } = config;
  return format === "f16" && columns % (16 * columnParts * round) === 0 && outputs % 16 === 0 &&
    (inputs === "staged" || input === "rounded" && select.kind === "all") && workgroupMemory(directUnitsBytes(config)) <= workgroupLimit;
}

/** y[item, first_output + o] (+)= Σ_k W[matrix of item][o, k] · x[input of item, k]; what an item gets depends on no other item. */
export const directUnits: Kernel<DirectUnitsConfig, LinearBindings, LinearParams> = {
  name: "direct_units",
  bindings: { ...LINEAR_BINDINGS, weights: "read_write", x: "read_write" },
  params: LINEAR_PARAMS,
  wgsl(config) {
    const { layout, division, outputs, input } = config;
    const { columnParts, outputParts, outputTiles, items, round } = division;
    const threads = threadsOf(division);
    const { sumsAtOnce, vectors } = memoryOf(division);
    const staged = stagedOf(division);
    const placeOf = (how: "tiles" | "rows") => how === "tiles" ? [32, 2] : [2, layout.columns / 8];
    const [weightStep, weightStride] = placeOf(division.weights);
    const [inputStep, inputRow] = placeOf(division.inputs === "staged" ? "rows" : division.inputs);
    const numbers = {
      OUTPUTS: outputs,
      THREADS: threads,
      TILE_OUTPUTS: tileOutputsOf(division),
      TILE_ITEMS: items,
      K_PARTS: columnParts,
      N_PARTS: outputParts,
      N_STEPS: outputTiles,
      M_STEPS: ceilDiv(items, 16),
      ROUND: round,
      WEIGHT_STEP: weightStep,
      WEIGHT_STRIDE: weightStride,
      INPUT_STEP: inputStep,
      INPUT_ROW: inputRow,
      CHUNK_OCTETS: columnParts * round * 2,
      INPUT_LOADS: ceilDiv(items * columnParts * round * 2, threads),
      STRIDE: staged.stride,
      STEP_VECTORS: staged.vectors,
      SUMS_AT_ONCE: sumsAtOnce,
      SUM_ROUNDS: outputTiles / sumsAtOnce,
      MEMORY_VECTORS: vectors,
    };
    const rounded = input === "rounded";
    const constantsOfInput = rounded ? constants({ INPUT_STRIDE: layout.columns, ITEMS_PER_INPUT: itemsPerInput(config.select) }) : inputWgsl(config);
    const sections = division.inputs === "staged"
      ? { ...sectionsOf((rounded ? inputsF16 : inputsF32).replace("<storage, read> x", "<storage, read_write> x")), ...sectionsOf(inputsStaged) }
      : sectionsOf(inputsDirect);
    return constants(numbers) + `const ADDS = ${config.adds ?? false};\n` + halves + weightFormatWgsl(layout) + constantsOfInput +
      batchItemsWgsl(config) + unroll(fill(source, sections), numbers);
  },
  workgroupBytes: directUnitsBytes,
  workgroups: ({ division, ...config }, params) => batchGrid(config, { items: division.items, outputs: tileOutputsOf(division) }, params),
  sizes(config, params) {
    const { division: { inputs, items }, layout: { columns } } = config;
    const sizes = linearSizes(config, params, params.items);
    // Whole matrices of inputs are loaded, whatever they hold beyond the last.
    return inputs === "staged" ? sizes : { ...sizes, x: roundUp(params.items, items) * columns * 2 };
  },
  reference: (config, buffers, params) => matvec.reference({ ...config, itemsAtOnce: 1 }, buffers, params),
};

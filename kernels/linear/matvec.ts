/**
 * Linear layer for decode: few items, every weight read once per {@link MatvecConfig.itemsAtOnce} items.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import {
  inputWgsl,
  LINEAR_BINDINGS,
  LINEAR_PARAMS,
  type LinearBindings,
  type LinearConfig,
  type LinearParams,
  linearSizes,
  readsVectors,
} from "./linear.ts";
import source from "./matvec.wgsl" with { type: "text" };
import { orderOf } from "./order.ts";
import { multiply } from "./reference.ts";
import { matrixOf, matrixOfWgsl } from "./select.ts";
import { decodeBatches, linearProgram } from "./wasm.ts";
import stage from "./stage.wgsl" with { type: "text" };

/** {@link LinearConfig}, and how many items share a read of the weights (1 unless `select` is `all`). */
export interface MatvecConfig extends LinearConfig {
  readonly itemsAtOnce: number;
  /** Threads of a workgroup that runs beside another kernel's; a multiple of 64. */
  readonly threads?: number;
  /** Whether there are so many items that they keep a device busy, however few outputs there are. */
  readonly manyItems?: boolean;
  /** Whether y takes the product in, instead of being it. */
  readonly adds?: boolean;
}

/** How a workgroup divides its work. */
interface Division {
  readonly threads: number;
  /** Threads that share rows. */
  readonly lanes: number;
  /** Rows of each such team. */
  readonly outputsEach: number;
  /** Whether inputs are read and activated once per workgroup, and kept in workgroup memory. */
  readonly staged: boolean;
}

/** Most columns that are staged: 8 KiB, of the 16 that every device has. */
const MOST_STAGED_COLUMNS = 2048;
/** Threads that keep a large GPU busy. */
const BUSY_THREADS = 65536;

/** Threads of a workgroup. */
export function matvecThreads(config: MatvecConfig): number {
  return divide(config).threads;
}

/** Whether inputs go by way of workgroup memory. */
export function matvecStages(config: MatvecConfig): boolean {
  return divide(config).staged;
}

function divide({ layout, itemsAtOnce, outputs, threads, manyItems = false }: MatvecConfig): Division {
  const { lanes } = orderOf(layout);
  const outputsEach = manyItems ? 4 : [4, 2].find((each) => outputs / each * lanes >= BUSY_THREADS) ?? 1;
  const staged = threads === undefined && itemsAtOnce === 1 && layout.columns <= MOST_STAGED_COLUMNS;
  return { threads: threads ?? (staged ? 256 : 64), lanes, outputsEach, staged };
}

/** The source of {@link matvec}. @param stage `stage(thread, base, first)`, how an input row gets to workgroup memory; `first`: in the first workgroup */
export function matvecWgsl(config: MatvecConfig, stage: string): string {
  const { threads, lanes, outputsEach, staged } = divide(config);
  const { fold } = orderOf(config.layout);
  const numbers = {
    OUTPUTS: config.outputs,
    THREADS: threads,
    LANES: lanes,
    OUTPUTS_EACH: outputsEach,
    ITEMS_AT_ONCE: config.itemsAtOnce,
    // Drivers in software take minutes over what is very long, as reading rows of odd sizes is.
    QUADS_AT_ONCE: readsVectors(config) ? Math.min(quadsPerVector(config.layout.format), 8 / config.itemsAtOnce) : 1,
    STAGED_EACH: ceilDiv(config.layout.rowBytes / 16 * quadsPerVector(config.layout.format), threads),
    FOLD: fold,
    SEGMENTS: lanes / fold,
  };
  const chosen = `const STAGED = ${staged};\nconst ADDS = ${config.adds ?? false};\n`;
  return constants(numbers) + chosen + matrixOfWgsl(config.select) + weightFormatWgsl(config.layout) + inputWgsl(config) +
    unroll(source + stage, numbers);
}

/** y[item, first_output + o] (+)= Σ_k W[matrix of item][o, k] · x[input of item, k]. */
export const matvec: Kernel<MatvecConfig, LinearBindings, LinearParams> = {
  name: "matvec",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl: (config) => matvecWgsl(config, stage),
  workgroupBytes(config) {
    const { threads, outputsEach, staged } = divide(config);
    const [vectors, quads, values] = [config.layout.rowBytes / 16, quadsPerVector(config.layout.format), outputsEach * config.itemsAtOnce];
    return [(staged ? quads * (vectors | 1) : 1) * 16, values * threads * 4, values * threads / orderOf(config.layout).fold * 4];
  },
  workgroups(config, params) {
    const { threads, lanes, outputsEach } = divide(config);
    return [ceilDiv(params.part_outputs, (threads / lanes) * outputsEach), ceilDiv(params.items, config.itemsAtOnce), 1];
  },
  sizes: (config, params) => linearSizes(config, params, params.items),
  reference(config, buffers, params) {
    for (let first = 0; first < params.items;) {
      const matrix = matrixOf(config.select, first, buffers.routes.u32);
      const items = config.select.kind === "all" ? Array.from({ length: params.items }, (_, i) => i) : [first];
      first += items.length;
      if (matrix < params.first_matrix || matrix >= params.first_matrix + params.matrices) continue;
      multiply(config, buffers, {
        firstWeightRow: (matrix - params.first_matrix) * config.outputs,
        weightRows: params.part_outputs,
        firstOutput: params.first_output,
        items,
        adds: config.adds,
      });
    }
  },
  wasm: (config) => linearProgram(config, decodeBatches(config), "dot_int4"),
};

/**
 * Linear layer for decode steps of several rows: tiles of items that share every read of their matrix, with the bits that each item has alone.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import { batchGrid, batchItemsWgsl, foundBytes } from "./batch_items.ts";
import source from "./batch_matvec.wgsl" with { type: "text" };
import tile from "./batch_tile.wgsl" with { type: "text" };
import { inputWgsl, LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearConfig, type LinearParams, linearSizes } from "./linear.ts";
import { matvec } from "./matvec.ts";
import { orderOf } from "./order.ts";

/** How workgroups divide the work. A thread takes some outputs of some items, of which it adds one lane's share (`order.ts`) at a time. */
export interface BatchDivision {
  readonly threads: number;
  /** Lanes that have threads at a time. */
  readonly passLanes: number;
  readonly outputsEach: number;
  /** Threads in this many groups take different items. */
  readonly itemTeams: number;
  /** Items of a thread, ascending: a tile is computed for the least of these numbers that is enough for it. */
  readonly itemsEach: readonly number[];
}

/** {@link LinearConfig} for several items of a matrix. */
export interface BatchMatvecConfig extends LinearConfig {
  readonly division: BatchDivision;
  /** Most items that one matrix of a stack may have. */
  readonly mostItems: number;
  /** Whether y takes the product in, instead of being it. */
  readonly adds?: boolean;
}

/** Bytes of workgroup memory up to which sums of two outputs have places in turn: four workgroups have room on a processor with 48 KiB. */
const ROOMY_BYTES = 12288;

/** What follows from a division and the rows of the matrix. */
function sizesOf({ layout, division }: Pick<BatchMatvecConfig, "layout" | "division">) {
  const { threads, itemTeams, itemsEach, outputsEach } = division;
  const { lanes, fold } = orderOf(layout);
  const passLanes = Math.min(division.passLanes, lanes);
  const teams = threads / (passLanes * itemTeams);
  const tileItems = itemTeams * itemsEach[itemsEach.length - 1];
  const chunkQuads = Math.min(quadsPerVector(layout.format), 2);
  const stagedBytes = 2 * tileItems * passLanes * chunkQuads * 16;
  const turnBytes = tileItems * teams * (passLanes | 1) * 4;
  const turns = outputsEach > 1 && stagedBytes + 2 * turnBytes <= ROOMY_BYTES ? 2 : 1;
  return { lanes, fold, passLanes, teams, tileItems, chunkQuads, turns, bytes: [stagedBytes, turns * turnBytes] };
}

/** Bytes of each variable in workgroup memory. */
export function batchMatvecBytes(config: Pick<BatchMatvecConfig, "layout" | "division" | "select" | "mostItems">): readonly number[] {
  return [...foundBytes(config), ...sizesOf(config).bytes];
}

/** Outputs of a workgroup. */
function tileOutputsOf(config: Pick<BatchMatvecConfig, "layout" | "division">): number {
  return sizesOf(config).teams * config.division.outputsEach;
}

/** `multiply`, which takes the smallest tile that is enough. */
function multiplyWgsl({ itemTeams, itemsEach }: BatchDivision): string {
  const parameters = "thread: u32, matrix: u32, first_output: u32, first: u32, count: u32";
  const call = (items: number) => `multiply_${items}(thread, matrix, first_output, first, count);`;
  const last = itemsEach.length - 1;
  const choices = itemsEach.map((items, i) => (i < last ? `if (count <= ${itemTeams * items}u) { ${call(items)} }` : `{ ${call(items)} }`));
  return `fn multiply(${parameters}) {\n  ${choices.join(" else ")}\n}\n`;
}

/** y[item, first_output + o] (+)= Σ_k W[matrix of item][o, k] · x[input of item, k], to the last bit what {@link matvec} gives. */
export const batchMatvec: Kernel<BatchMatvecConfig, LinearBindings, LinearParams> = {
  name: "batch_matvec",
  bindings: LINEAR_BINDINGS,
  params: LINEAR_PARAMS,
  wgsl(config) {
    const { layout, division, outputs } = config;
    const { threads, outputsEach, itemTeams, itemsEach } = division;
    const { lanes, fold, passLanes, teams, tileItems, chunkQuads, turns } = sizesOf(config);
    const numbers = {
      OUTPUTS: outputs,
      THREADS: threads,
      LANES: lanes,
      PASS_LANES: passLanes,
      TEAMS: teams,
      NEAR: teams % 2 === 0 ? 2 : 1,
      OUTPUTS_EACH: outputsEach,
      ITEM_TEAMS: itemTeams,
      TILE_ITEMS: tileItems,
      CHUNK_QUADS: chunkQuads,
      TURNS: turns,
      FOLD: fold,
      PASS_SEGMENTS: passLanes / fold,
    };
    const tiles = itemsEach.map((items) =>
      unroll(tile.replaceAll("{n}", `${items}`), {
        ...numbers,
        ITEMS: items,
        INPUTS_EACH: ceilDiv(itemTeams * items * passLanes * chunkQuads, threads),
        TOTALS_EACH: ceilDiv(itemTeams * items * teams, threads),
      })
    );
    return constants(numbers) + `const ADDS = ${config.adds ?? false};\n` + weightFormatWgsl(layout) + inputWgsl(config) + batchItemsWgsl(config) +
      source + tiles.join("") + multiplyWgsl(division);
  },
  workgroupBytes: batchMatvecBytes,
  workgroups: (config, params) => batchGrid(config, { items: sizesOf(config).tileItems, outputs: tileOutputsOf(config) }, params),
  sizes: (config, params) => linearSizes(config, params, params.items),
  reference: (config, buffers, params) => matvec.reference({ ...config, itemsAtOnce: 1 }, buffers, params),
  wasm: (config) => matvec.wasm!({ ...config, itemsAtOnce: 1 }),
};

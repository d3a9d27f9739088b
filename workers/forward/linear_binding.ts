/**
 * What linear layers are bound to, and the kernels that decode one part of a matrix with.
 *
 * @module
 */
import type { BesideSide } from "../../kernels/device/beside.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { batchMatvec, type BatchMatvecConfig } from "../../kernels/linear/batch_matvec.ts";
import { batchUnits, type BatchUnitsConfig, fitsUnitsOutput, type UnitsOutput, unitsThreads } from "../../kernels/linear/batch_units.ts";
import { type DecodeWay, decodeWays, type LayerShape } from "../../kernels/linear/choose.ts";
import { matvec, type MatvecConfig, matvecThreads } from "../../kernels/linear/matvec.ts";
import { canNormalise, normMatvec, type NormMatvecConfig } from "../../kernels/linear/norm_matvec.ts";
import type { Select } from "../../kernels/linear/select.ts";
import type { MoePlan } from "../../kernels/moe_plan/layout.ts";
import type { Activations } from "./activations.ts";
import type { DeviceMatrix, MatrixPart } from "./weights.ts";

/**
 * How tokens are computed: `prefill` expands keys and multiplies in tiles, `decode` absorbs and multiplies row by row. The two add in different orders,
 * so whatever must be reproduced bit for bit is computed in the phase it was computed in first.
 */
export type Phase = "prefill" | "decode";

/** What a linear layer can take its input from where nobody has normalised it. */
export interface UnnormedInput {
  readonly x: DeviceBuffer;
  readonly gamma: DeviceBuffer;
  readonly eps: number;
  /** Where others want the normalised row, and in what precision. */
  readonly keeps?: { readonly at: DeviceBuffer; readonly as: "f32" | "f16" };
}

/** What a linear layer is bound to. */
export interface LinearBinding {
  readonly x: DeviceBuffer;
  /** Where x, activated, lies in f16, if who wrote it has rounded it: matrix units take it from there. What they find nowhere is rounded for them first. */
  readonly rounded?: Readonly<Partial<Record<Phase, DeviceBuffer>>>;
  /** For {@link Linear.runUnnormed}. */
  readonly unnormed?: UnnormedInput;
  readonly y: DeviceBuffer;
  /** What y is where decode runs on matrix units, see {@link givesTo}; f32 by default. */
  readonly gives?: UnitsOutput;
  /** Whether y takes the product in, instead of being it; decode only. */
  readonly adds?: boolean;
  /** Whether x holds gates and values, see {@link LinearConfig.input}; `plain` by default. */
  readonly input?: "plain" | "gated";
  readonly select?: Select;
  /** Whether x and y are in f16, for a layer of prefill that {@link takesHalves}. */
  readonly halves?: boolean;
  /** `select: expert`: routes (decode) and plans (prefill). */
  readonly routes?: DeviceBuffer;
  readonly plan?: { readonly buffer: DeviceBuffer; readonly layouts: readonly MoePlan[] };
  /**
   * In which phases inputs and weights are not rounded to f16, as matrix units do: `always` for what small differences turn over, such as the choice of experts;
   * `prefill` where it costs nothing, since few rows are computed there.
   */
  readonly precise?: "always" | "prefill";
  /** Most rows of a step in each phase; 0: never run in it. */
  readonly most: Readonly<Record<Phase, number>>;
  /** Items of a row: experts or heads that its token has; 1 by default. */
  readonly itemsPerRow?: number;
}

/** Where a linear layer runs. */
export interface LinearContext {
  readonly device: Device;
  /** Whether products may be f16 on matrix units. */
  readonly matrixUnits: boolean;
  /** Whether decode's are, see `kernels/linear/choose.ts`. */
  readonly decodesOnUnits: boolean;
  readonly activations: Pick<Activations, "rounded">;
  /** Takes numbers of rows from which a layer is decoded by another kernel. */
  readonly kernelChanges: Set<number>;
}

/** Which rows or matrices a part has, as kernels are told. */
export type Part = Omit<Record<LinearParams, number>, "items">;

/** A layer whose inputs are as they were computed. */
export interface PlainConfig extends LinearConfig {
  readonly input: "plain" | "gated";
}

/** How a matrix is multiplied. */
export function configOf(
  { layout, outputs }: DeviceMatrix,
  { input = "plain", select = { kind: "all" } }: Pick<LinearBinding, "input" | "select">,
): PlainConfig {
  return { layout, outputs, inputStride: input === "gated" ? 2 * layout.columns : layout.columns, input, select };
}

/** Parameters for one part of a matrix. */
export function paramsOf(matrix: DeviceMatrix, select: Select, { first, count }: MatrixPart): Part {
  return select.kind === "all"
    ? { first_output: first, part_outputs: count, first_matrix: 0, matrices: 1 }
    : { first_output: 0, part_outputs: matrix.outputs, first_matrix: first, matrices: count };
}

/** Buffers for one part of a matrix. */
export function buffersOf(
  { weights, scales }: MatrixPart,
  { x, y }: LinearBinding,
  routes: DeviceBuffer | undefined,
): Record<LinearBindings, DeviceBuffer> {
  return { weights, scales, routes: routes ?? scales, x, y };
}

/** Most items in a phase. */
export function mostItems({ most, itemsPerRow = 1 }: Pick<LinearBinding, "most" | "itemsPerRow">, phase: Phase): number {
  return most[phase] * itemsPerRow;
}

/** One part of a matrix, as steps of up to `upTo` rows are decoded with it. */
export interface DecodeSide {
  readonly upTo: number;
  readonly threads: number;
  readonly side: BesideSide<LinearConfig, LinearBindings, LinearParams>;
}

/** A layer that is to run beside another. */
export interface LayerBeside {
  readonly matrix: DeviceMatrix;
  readonly binding: Pick<LinearBinding, "input" | "select" | "precise">;
}

/** A layer, as far as it decides how decode computes it. */
export interface DecodeLayer {
  readonly matrix: DeviceMatrix;
  readonly binding: Pick<LinearBinding, "input" | "select" | "precise" | "most">;
}

/** Whether decode multiplies a layer on matrix units, which take its inputs in f16. @param beside a layer that is to run beside it */
export function decodesOnUnits(
  context: Pick<LinearContext, "device" | "decodesOnUnits">,
  { matrix, binding }: DecodeLayer,
  beside?: LayerBeside,
): boolean {
  return waysOf(context, matrix, binding, beside)[0]?.units !== undefined;
}

/** What decode lets a layer give to the next: `output` if both are on matrix units and a workgroup has all that it takes; f32 otherwise. */
export function givesTo(
  context: Pick<LinearContext, "device" | "decodesOnUnits">,
  output: UnitsOutput,
  from: DecodeLayer,
  to: DecodeLayer,
): UnitsOutput {
  const { outputs, parts } = from.matrix;
  const whole = parts.length === 1 || configOf(from.matrix, from.binding).select.kind !== "all";
  return whole && fitsUnitsOutput(outputs, output) && [from, to].every((layer) => decodesOnUnits(context, layer)) ? output : "f32";
}

function waysOf(
  { device, decodesOnUnits: units }: Pick<LinearContext, "device" | "decodesOnUnits">,
  matrix: DeviceMatrix,
  binding: DecodeLayer["binding"],
  beside?: LayerBeside,
): readonly DecodeWay[] {
  const shapeOf = ({ matrix, binding }: LayerBeside): LayerShape => (
    { ...matrix, select: configOf(matrix, binding).select, precise: binding.precise === "always" }
  );
  const choice = { rows: binding.most.decode, units, workgroupLimit: device.limits.maxWorkgroupBytes };
  return decodeWays(shapeOf({ matrix, binding }), choice, beside === undefined ? undefined : shapeOf(beside));
}

/** Decode with one part of a matrix, by ascending number of rows. @param beside a layer that is to run beside it */
export function decodeSides(
  context: LinearContext,
  matrix: DeviceMatrix,
  part: MatrixPart,
  binding: LinearBinding,
  beside?: LayerBeside,
): DecodeSide[] {
  if (binding.most.decode === 0) return [];
  const config = { ...configOf(matrix, binding), adds: binding.adds ?? false };
  const { select } = config;
  const bound = {
    buffers: buffersOf(part, binding, binding.routes),
    most: { items: mostItems(binding, "decode"), ...paramsOf(matrix, select, part) },
  };
  const ways = waysOf(context, matrix, binding, beside);
  ways.slice(1).forEach((_, i) => context.kernelChanges.add(ways[i].upTo + 1));
  return ways.map(({ upTo, ...way }) => {
    const { units, division, itemsAtOnce = 1 } = way;
    if (units !== undefined) {
      const tiles: BatchUnitsConfig = {
        ...config,
        input: "rounded",
        output: binding.gives ?? "f32",
        division: units,
        mostItems: binding.most.decode,
      };
      const x = binding.rounded?.decode ?? context.activations.rounded;
      return { upTo, threads: unitsThreads(units), side: { kernel: batchUnits, config: tiles, ...bound, buffers: { ...bound.buffers, x } } };
    }
    if (division !== undefined) {
      const tiles: BatchMatvecConfig = { ...config, division, mostItems: binding.most.decode };
      return { upTo, threads: division.threads, side: { kernel: batchMatvec, config: tiles, ...bound } };
    }
    const rows: MatvecConfig = { ...config, itemsAtOnce, ...("threads" in way ? { threads: way.threads } : {}) };
    return { upTo, threads: matvecThreads(rows), side: { kernel: matvec, config: rows, ...bound } };
  });
}

/** One row that the layer normalises itself; null if it cannot, as on matrix units, or need not, or if others take the row in f16, which a norm leaves for them. */
export function unnormedSide(
  context: LinearContext,
  matrix: DeviceMatrix,
  part: MatrixPart,
  binding: LinearBinding,
): BesideSide<NormMatvecConfig, LinearBindings | "gamma" | "normed", LinearParams> | null {
  const { unnormed } = binding;
  if (unnormed === undefined || binding.most.decode === 0) return null;
  const { keeps } = unnormed;
  if (binding.rounded?.decode !== undefined && keeps?.as !== "f16") return null;
  if (Object.keys(normMatvec.bindings).length > context.device.limits.maxBindings) return null;
  if (waysOf(context, matrix, binding)[0].units !== undefined) return null;
  const plain = configOf(matrix, binding);
  const config = { ...plain, itemsAtOnce: 1, adds: binding.adds ?? false, eps: unnormed.eps, keeps: keeps?.as ?? false } as const;
  if (!canNormalise(config)) return null;
  return {
    kernel: normMatvec,
    config,
    buffers: { ...buffersOf(part, binding, binding.routes), x: unnormed.x, gamma: unnormed.gamma, normed: keeps?.at ?? binding.x },
    most: { items: 1, ...paramsOf(matrix, plain.select, part) },
  };
}

/**
 * Exact attention of a prefill chunk over expanded keys and values: a window of positions is expanded at a time, and attended to before the next one is. The first
 * windows of a prompt stay expanded, as many as there is memory for, until it is computed or another prompt is.
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { dividePrefill, mlaPrefillMatrix } from "../../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillConfig, type MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import type { Activations } from "./activations.ts";
import type { ModelContext, Step } from "./context.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { Linear, takesHalves } from "./linear.ts";
import type { LinearContext } from "./linear_binding.ts";
import type { AttentionWeights, DeviceMatrix } from "./weights.ts";

/** Expands a window of latents to keys and values, and attends to them. */
interface WindowParts {
  readonly gather: BoundKernel<"count" | "start" | "table">;
  readonly expandKeys: Linear;
  readonly expandValues: Linear;
  readonly attend: BoundKernel<MlaPrefillParams>;
}

/** One layer's, of a rank that holds whole latents. */
export class PrefillAttention {
  readonly #context: ModelContext;
  /** The first windows of a prompt, each in memory of its own once all of its positions are there. */
  readonly #kept: readonly WindowParts[];
  /** All others, one after the other. */
  readonly #passing: WindowParts;
  /** Whose windows are kept, and how many. */
  #known: { readonly sequence: CachedSequence; readonly windows: number } | null = null;

  private constructor(context: ModelContext, kept: readonly WindowParts[], passing: WindowParts) {
    this.#context = context;
    this.#kept = kept;
    this.#passing = passing;
  }

  /** Compiles and binds; null where this rank holds part of the latents. @param pages of the layer */
  static async create(context: ModelContext, weights: AttentionWeights, pages: DeviceBuffer): Promise<PrefillAttention | null> {
    const { device, spec, activations: a, limits, cache } = context;
    if (weights.keyUp.layout.columns < spec.latentWidth || weights.valueUp.layout.columns < spec.latentWidth) return null;
    const { window, keptWindows = 0, prefillRows } = limits;
    const { halves } = context;
    const expand = (matrix: DeviceMatrix, y: DeviceBuffer) =>
      Linear.create(context, unstacked(matrix), { x: a.latents, y, halves, most: { prefill: window, decode: 0 } });
    const heads = headsOf(spec);
    const division = halves ? dividePrefill(heads, device.limits.maxWorkgroupBytes) : null;
    const [gather, attend] = await Promise.all([
      device.compile(latentGather, { cache: cache.config, slots: cache.slots, tableWords: cache.tableWords, output: halves ? "f16" : "f32" }),
      division === null ? device.compile(mlaPrefill, heads) : device.compile(mlaPrefillMatrix, { ...heads, division }),
    ]);
    const bind = async ({ keys, ropeKeys, values }: Pick<Activations, "keys" | "ropeKeys" | "values">): Promise<WindowParts> => {
      const [expandKeys, expandValues] = await Promise.all([expand(weights.keyUp, keys), expand(weights.valueUp, values)]);
      return {
        gather: gather.bind(
          { cache: pages, tables: cache.tables, latents: a.latents, rope_keys: ropeKeys },
          { count: window, start: cache.maxContext, table: cache.tableWords },
        ),
        expandKeys,
        expandValues,
        attend: attend.bind(
          { q: a.q, keys, rope_keys: ropeKeys, values, state: a.softmaxState, out: a.heads },
          { rows: prefillRows, first_position: cache.maxContext, window_start: cache.maxContext, window_count: window, last: 1 },
        ),
      };
    };
    const alike = (label: string, { bytes }: DeviceBuffer) => device.createBuffer(label, bytes);
    const kept = Array.from({ length: keptWindows }, () => ({
      keys: alike("kept keys", a.keys),
      ropeKeys: alike("kept rope keys", a.ropeKeys),
      values: alike("kept values", a.values),
    }));
    return new PrefillAttention(context, await Promise.all(kept.map(bind)), await bind(a));
  }

  /** Records the attention of rows that belong to one sequence, at consecutive positions, and are stored. */
  record(step: Step): void {
    const { device, limits: { window } } = this.#context;
    const rows = step.rows.length;
    const { position, sequence } = step.rows[0];
    const end = position + rows;
    // What is before this chunk has not changed since the last one.
    const known = this.#known?.sequence === sequence ? Math.min(this.#known.windows, Math.floor(position / window)) : 0;
    for (let index = 0, start = 0; start < end; index++, start += window) {
      const count = Math.min(window, end - start);
      const { gather, expandKeys, expandValues, attend } = (count === window ? this.#kept[index] : undefined) ?? this.#passing;
      if (index >= known) {
        device.run(gather, { count, start, table: sequence.table });
        expandKeys.run("prefill", count);
        expandValues.run("prefill", count, expandKeys.rounds);
      }
      device.run(attend, {
        rows,
        first_position: position,
        window_start: start,
        window_count: count,
        last: start + count === end ? 1 : 0,
      });
    }
    this.#known = { sequence, windows: Math.min(this.#kept.length, Math.floor(end / window)) };
  }
}

function headsOf(spec: ModelSpec): MlaPrefillConfig {
  const { heads, nopeWidth, rope, valueWidth, attentionScale } = spec;
  return { heads, nopeWidth, ropeWidth: rope.width, valueWidth, scale: attentionScale };
}

/** Whether prefill expands latents to keys and values in f16 and attends to them on matrix units: if all of its kernels can, in all layers. */
export function attendsInHalves(
  context: Pick<LinearContext, "device" | "matrixUnits">,
  spec: ModelSpec,
  cache: CacheConfig,
  layers: readonly { readonly attention: Pick<AttentionWeights, "keyUp" | "valueUp"> }[],
): boolean {
  const { device, matrixUnits } = context;
  return matrixUnits && gathersHalves(cache) && dividePrefill(headsOf(spec), device.limits.maxWorkgroupBytes) !== null &&
    layers.every(({ attention: { keyUp, valueUp } }) => [keyUp, valueUp].every((matrix) => takesHalves(context, unstacked(matrix))));
}

/** The matrices of a stack as one matrix: their rows follow each other in memory. */
function unstacked(stack: DeviceMatrix): DeviceMatrix {
  const rows = stack.outputs * stack.matrices;
  return { ...stack, outputs: rows, matrices: 1, parts: [{ ...stack.parts[0], first: 0, count: rows }] };
}

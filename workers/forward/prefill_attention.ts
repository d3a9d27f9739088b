/**
 * Exact attention of a prefill chunk, over expanded keys and values, or, far into a prompt where tokens are chosen, over those alone (`sparse_prefill.ts`). The first
 * windows of a prompt stay expanded, as many as there is memory for, until it is computed or another prompt is: a chunk attends to all of them at once, in splits. Those
 * behind them are expanded one at a time, and attended to before the next one is.
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import type { Params } from "../../kernels/authoring/contract.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { type BoundKernel, type DeviceBuffer, VIEW_ALIGNMENT } from "../../kernels/device/device.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { dividePrefill, mlaPrefillMatrix } from "../../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillBindings, type MlaPrefillConfig, type MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import { prefillChosen, prefillChosenMatrix } from "../../kernels/mla_prefill/prefill_chosen.ts";
import { prefillMerge, type PrefillMergeParams } from "../../kernels/mla_prefill/prefill_merge.ts";
import type { Activations } from "./activations.ts";
import type { CachedLayer, ModelContext, Step } from "./context.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { Linear, takesHalves, unstacked } from "./linear.ts";
import type { LinearContext } from "./linear_binding.ts";
import { SparsePrefill } from "./sparse_prefill.ts";
import { denseRows } from "./sparse_way.ts";
import type { AttentionWeights, DeviceMatrix } from "./weights.ts";

/** Expands a window of latents to keys and values. */
interface Expansion {
  readonly gather: BoundKernel<"count" | "start" | "table">;
  readonly keys: Linear;
  readonly values: Linear;
}

/** What latents are expanded to, and what goes with it. */
type ExpandedPart = keyof Pick<Activations, "keys" | "ropeKeys" | "values">;

/** Where expanded windows lie. */
interface Expanded {
  readonly windows: readonly Expansion[];
  /** Attends to any of them. */
  readonly attend: BoundKernel<MlaPrefillParams>;
}

/** One layer's, of a rank that holds whole latents. */
export class PrefillAttention {
  readonly #context: ModelContext;
  /** The first windows of a prompt, after each other. */
  readonly #kept: Expanded;
  /** Any other. */
  readonly #passing: Expanded;
  readonly #merge: BoundKernel<PrefillMergeParams>;
  /** What rows do that see too much for it; null: none does. */
  readonly #sparse: SparsePrefill | null;
  /** Positions of a split. */
  readonly #split: number;
  /** Whose windows are kept, and how many are whole. */
  #known: { readonly sequence: CachedSequence; readonly windows: number } | null = null;

  private constructor(
    context: ModelContext,
    parts: {
      readonly kept: Expanded;
      readonly passing: Expanded;
      readonly merge: BoundKernel<PrefillMergeParams>;
      readonly sparse: SparsePrefill | null;
      readonly split: number;
    },
  ) {
    this.#context = context;
    this.#split = parts.split;
    this.#kept = parts.kept;
    this.#passing = parts.passing;
    this.#merge = parts.merge;
    this.#sparse = parts.sparse;
  }

  /** Compiles and binds; null where this rank holds part of the latents. */
  static async create(context: ModelContext, weights: AttentionWeights, cached: CachedLayer): Promise<PrefillAttention | null> {
    const { pages, cache: layout } = cached;
    const { device, spec, activations: a, limits, cache, halves } = context;
    if (context.sharing !== null) return null;
    if (weights.keyUp.layout.columns < spec.latentWidth || weights.valueUp.layout.columns < spec.latentWidth) return null;
    const { window, prefillRows } = limits;
    const expand = (matrix: DeviceMatrix, y: DeviceBuffer) =>
      Linear.create(context, unstacked(matrix), { x: a.latents, y, halves, most: { prefill: window, decode: 0 } });
    const config = configOf(spec, window);
    const division = halves ? dividePrefill(config, device.limits.maxWorkgroupBytes) : null;
    const { heads, valueWidth, split } = config;
    const [gather, bindAttention, merge, sparse] = await Promise.all([
      device.compile(latentGather, { cache: layout, slots: cache.slots, tableWords: cache.tableWords, output: halves ? "f16" : "f32" }),
      attention(context, config, division),
      device.compile(prefillMerge, { heads, valueWidth, split, powersOfTwo: division !== null }),
      SparsePrefill.create(context, weights, cached),
    ]);
    const bindWindow = async (to: Record<ExpandedPart, DeviceBuffer>): Promise<Expansion> => {
      const [keys, values] = await Promise.all([expand(weights.keyUp, to.keys), expand(weights.valueUp, to.values)]);
      return {
        gather: gather.bind(
          { cache: pages, tables: cache.tables, latents: a.latents, rope_keys: to.ropeKeys },
          { count: window, start: cache.maxContext, table: cache.tableWords },
        ),
        keys,
        values,
      };
    };
    const most = { rows: prefillRows, first_position: cache.maxContext, start: cache.maxContext, split_rows: prefillRows };
    const bytes = windowBytes(context);
    const bind = async (windows: number, to: Record<ExpandedPart, DeviceBuffer>): Promise<Expanded> => {
      const of = (part: ExpandedPart, index: number) => windows === 1 ? to[part] : to[part].view(index * bytes[part], bytes[part]);
      return {
        windows: await Promise.all(
          Array.from({ length: windows }, (_, i) => bindWindow({ keys: of("keys", i), ropeKeys: of("ropeKeys", i), values: of("values", i) })),
        ),
        attend: bindAttention(
          { q: a.q, keys: to.keys, rope_keys: to.ropeKeys, values: to.values, state: a.splitState, out: a.splitSums },
          { ...most, first: windows * window, end: windows * window },
        ),
      };
    };
    const passing = await bind(1, a);
    // None where parts of a buffer cannot be bound one by one.
    const useful = ceilDiv(Math.min(cache.maxContext, context.sparseWay?.from ?? Infinity), window);
    const windows = Object.values(bytes).every((each) => each % VIEW_ALIGNMENT === 0) ? Math.min(limits.keptWindows ?? 0, useful) : 0;
    const kept = windows === 0 ? { ...passing, windows: [] } : await bind(windows, {
      keys: device.createBuffer("kept keys", windows * bytes.keys),
      ropeKeys: device.createBuffer("kept rope keys", windows * bytes.ropeKeys),
      values: device.createBuffer("kept values", windows * bytes.values),
    });
    const bound = merge.bind(
      { split_state: a.splitState, split_out: a.splitSums, state: a.softmaxState, out: a.heads },
      { ...most, end: cache.maxContext, last: 1 },
    );
    return new PrefillAttention(context, { kept, passing, merge: bound, sparse, split });
  }

  /** Records the attention of rows that belong to one sequence, at consecutive positions, and are stored. */
  record(step: Step): void {
    const dense = denseRows(step, this.#context.sparseWay);
    // Which may leave anything for the others: so they come after it.
    this.#sparse?.record(step, dense);
    if (dense > 0) this.#recordDense({ ...step, rows: step.rows.slice(0, dense) });
  }

  #recordDense(step: Step): void {
    const { limits: { window } } = this.#context;
    const { position, sequence } = step.rows[0];
    const end = position + step.rows.length;
    const { windows } = this.#kept;
    const inKept = Math.min(end, windows.length * window);
    // What is before this chunk has not changed since the last one.
    const known = this.#known?.sequence === sequence ? Math.min(this.#known.windows, Math.floor(position / window)) : 0;
    for (let index = known; index * window < inKept; index++) {
      this.#expand(windows[index], { sequence, start: index * window, end: Math.min(inKept, (index + 1) * window) });
    }
    this.#attend(this.#kept, step, { first: 0, start: 0, end: inKept });
    for (let start = inKept; start < end; start += window) {
      const range = { start, end: Math.min(end, start + window) };
      this.#expand(this.#passing.windows[0], { sequence, ...range });
      this.#attend(this.#passing, step, { first: start, ...range });
    }
    this.#known = { sequence, windows: Math.floor(inKept / window) };
  }

  #expand(
    { gather, keys, values }: Expansion,
    { sequence, start, end }: { readonly sequence: CachedSequence; readonly start: number; readonly end: number },
  ) {
    const count = end - start;
    this.#context.device.run(gather, { count, start, table: sequence.table });
    keys.run("prefill", count);
    values.run("prefill", count, keys.rounds);
  }

  /** @param range positions, of which `first` is the first of what is expanded */
  #attend(
    { attend }: Expanded,
    { rows }: Step,
    { first, start, end }: { readonly first: number; readonly start: number; readonly end: number },
  ): void {
    const { device, limits } = this.#context;
    const split = this.#split;
    const common = { rows: rows.length, first_position: rows[0].position };
    // Few rows leave room for many splits beside each other, which then keep the device busy.
    const together = Math.max(1, Math.floor(limits.prefillRows / rows.length)) * split;
    for (let from = start; from < end; from += together) {
      const to = Math.min(end, from + together);
      const split_rows = ceilDiv(to - from, split) * rows.length;
      device.run(attend, { ...common, first: from - first, end: to - first, start: from, split_rows });
      device.run(this.#merge, { ...common, start: from, end: to, last: to === rows[0].position + rows.length ? 1 : 0, split_rows });
    }
  }
}

/** Compiles what attends: on matrix units, to what was chosen, or to all. @returns binds it */
async function attention(
  { device, activations: { sparse } }: ModelContext,
  config: MlaPrefillConfig,
  division: ReturnType<typeof dividePrefill>,
): Promise<(buffers: Readonly<Record<MlaPrefillBindings, DeviceBuffer>>, most: Params<MlaPrefillParams>) => BoundKernel<MlaPrefillParams>> {
  if (sparse !== null) {
    const ofChosen = { ...config, stride: sparse.bitWords };
    const chosen = division === null
      ? await device.compile(prefillChosen, ofChosen)
      : await device.compile(prefillChosenMatrix, { ...ofChosen, division });
    return (buffers, most) => chosen.bind({ ...buffers, chosen: sparse.bits }, most);
  }
  const all = division === null ? await device.compile(mlaPrefill, config) : await device.compile(mlaPrefillMatrix, { ...config, division });
  return (buffers, most) => all.bind(buffers, most);
}

/** Bytes of an expanded window, whose positions follow those of the one before: buffers may be a little longer. */
function windowBytes({ spec: { heads, nopeWidth, valueWidth, rope }, limits: { window }, halves }: ModelContext): Record<ExpandedPart, number> {
  const bytes = (width: number) => window * width * (halves ? 2 : 4);
  return { keys: bytes(heads * nopeWidth), ropeKeys: bytes(rope.width), values: bytes(heads * valueWidth) };
}

/** Positions of a split at most: so few that short chunks after a long context keep a large GPU busy, so many that merging them takes next to no time. */
export const MOST_SPLIT = 2048;

function configOf(spec: ModelSpec, window: number): MlaPrefillConfig {
  const { heads, nopeWidth, rope, valueWidth, attentionScale } = spec;
  const splits = ceilDiv(window, MOST_SPLIT);
  // Windows begin where splits do.
  const split = window % splits === 0 ? window / splits : window;
  return { heads, nopeWidth, ropeWidth: rope.width, valueWidth, scale: attentionScale, split };
}

/** Whether prefill expands latents to keys and values in f16 and attends to them on matrix units: if all of its kernels can, in all layers. */
export function attendsInHalves(
  context: Pick<LinearContext, "device" | "matrixUnits">,
  spec: ModelSpec,
  caches: readonly CacheConfig[],
  layers: readonly { readonly attention: Pick<AttentionWeights, "keyUp" | "valueUp"> }[],
): boolean {
  const { device, matrixUnits } = context;
  return matrixUnits && caches.every(gathersHalves) && dividePrefill(configOf(spec, MOST_SPLIT), device.limits.maxWorkgroupBytes) !== null &&
    layers.every(({ attention: { keyUp, valueUp } }) => [keyUp, valueUp].every((matrix) => takesHalves(context, unstacked(matrix))));
}

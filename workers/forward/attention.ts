/**
 * One layer's attention, bound. Prefill expands keys and values and runs exact MLA; decode absorbs the up-projections and attends over latents.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import { absorb } from "../../kernels/absorb/absorb.ts";
import { Beside } from "../../kernels/device/beside.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { absorbedAtOnce } from "../../kernels/linear/choose.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import { latentDecode } from "../../kernels/latent_decode/latent_decode.ts";
import { latentMerge } from "../../kernels/latent_decode/latent_merge.ts";
import { latentDecodeMatrix } from "../../kernels/latent_decode/matrix_units.ts";
import { splitCount } from "../../kernels/latent_decode/splits.ts";
import { gathersHalves, latentGather } from "../../kernels/latent_gather/latent_gather.ts";
import { dividePrefill, mlaPrefillMatrix } from "../../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillConfig, type MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { ropeStore } from "../../kernels/rope_store/rope_store.ts";
import { type Activations, mostRows } from "./activations.ts";
import { type Block, blockInput, BlockOutput, type Pending } from "./block.ts";
import type { ModelContext, Step } from "./context.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { Linear, takesHalves } from "./linear.ts";
import { decodesOnUnits, givesTo, type LinearBinding, type LinearContext, type Phase } from "./linear_binding.ts";
import { LinearPair } from "./linear_pair.ts";
import { bindNorm } from "./norm.ts";
import type { AttentionWeights, DeviceMatrix } from "./weights.ts";

/** Expands a window of latents to keys and values, and attends to them. */
interface WindowParts {
  readonly gather: BoundKernel<"count" | "start" | "table">;
  readonly expandKeys: Linear;
  readonly expandValues: Linear;
  readonly attend: BoundKernel<MlaPrefillParams>;
}

/** Exact attention over expanded keys and values; only where the rank holds whole latents. */
interface PrefillParts {
  /** The first windows of a prompt, each in memory of its own once all of its positions are there. */
  readonly kept: readonly WindowParts[];
  /** All others, one after the other. */
  readonly passing: WindowParts;
}

/** How queries are absorbed in steps of at least `from` rows. */
interface AbsorbWay {
  readonly from: number;
  readonly absorb: BoundKernel<"items">;
  /** Storing, too; null if the device cannot do both at once. */
  readonly storeAndAbsorb: Beside<"rows" | "absorbed_rows", "items"> | null;
}

/** The kernels of one attention block. */
interface Parts {
  /** h → latents with rotated keys, and queries or what they are projected up from. */
  readonly down: LinearPair;
  readonly queryUp: { readonly norm: BoundKernel<"rows" | "first_row">; readonly up: Linear } | null;
  readonly store: BoundKernel<"rows" | "absorbed_rows">;
  readonly absorb: readonly AbsorbWay[];
  readonly decode: BoundKernel<"rows" | "splits">;
  readonly merge: BoundKernel<"rows">;
  readonly valueUp: Linear;
  readonly prefill: PrefillParts | null;
  readonly output: BlockOutput;
}

/** One attention block on one device. */
export class Attention implements Block {
  readonly #context: ModelContext;
  readonly #parts: Parts;
  /** Whose windows are kept, and how many. */
  #kept: { readonly sequence: CachedSequence; readonly windows: number } | null = null;

  private constructor(context: ModelContext, parts: Parts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Compiles and binds the kernels of layer `layer`. @param norm what its input is normalised with */
  static async create(context: ModelContext, weights: AttentionWeights, norm: DeviceBuffer, layer: number): Promise<Attention> {
    const [projections, store, decode, prefill] = await Promise.all([
      bindProjections(context, weights, norm),
      bindStore(context, weights, context.cache.layers[layer]),
      bindDecode(context, weights, context.cache.layers[layer]),
      bindPrefill(context, weights, context.cache.layers[layer]),
    ]);
    return new Attention(context, { ...projections, ...store, ...decode, prefill });
  }

  get normalises(): boolean {
    return this.#parts.down.normalises;
  }

  record(step: Step, unnormed: boolean): Pending {
    const { phase, rows: { length: rows } } = step;
    const { down, queryUp, output } = this.#parts;
    if (unnormed) down.runUnnormed();
    else down.run(phase, rows);
    if (queryUp !== null) this.#recordQueryUp(queryUp, phase, rows);
    if (phase === "prefill") this.#recordPrefill(step);
    else this.#recordDecode(step);
    return output.run(phase, rows);
  }

  #recordQueryUp({ norm, up }: NonNullable<Parts["queryUp"]>, phase: Phase, rows: number): void {
    if (phase === "decode" && rows === 1 && up.normalises) return up.runUnnormed();
    this.#context.device.run(norm, { rows, first_row: 0 });
    up.run(phase, rows);
  }

  #recordDecode(step: Step): void {
    const { device, spec } = this.#context;
    const parts = this.#parts;
    const rows = step.rows.length;
    let splits = 0;
    for (const { position } of step.rows) splits = Math.max(splits, splitCount(position + 1, this.#context.decode.config));
    const [stored, absorbed] = [{ rows, absorbed_rows: rows }, { items: rows * spec.heads }];
    const { absorb, storeAndAbsorb } = parts.absorb.findLast(({ from }) => rows >= from)!;
    if (storeAndAbsorb !== null) {
      storeAndAbsorb.run(stored, absorbed);
    } else {
      device.run(parts.store, stored);
      device.run(absorb, absorbed);
    }
    device.run(parts.decode, { rows, splits });
    device.run(parts.merge, { rows });
    parts.valueUp.run("decode", rows);
  }

  /** All rows belong to one sequence, at consecutive positions. */
  #recordPrefill(step: Step): void {
    const { device, limits: { window } } = this.#context;
    const { prefill } = this.#parts;
    invariant(prefill !== null, "a rank that holds part of the latents cannot prefill");
    const rows = step.rows.length;
    const { position, sequence } = step.rows[0];
    const end = position + rows;
    // What is before this chunk has not changed since the last one.
    const known = this.#kept?.sequence === sequence ? Math.min(this.#kept.windows, Math.floor(position / window)) : 0;
    device.run(this.#parts.store, { rows, absorbed_rows: 0 });
    for (let index = 0, start = 0; start < end; index++, start += window) {
      const count = Math.min(window, end - start);
      const { gather, expandKeys, expandValues, attend } = (count === window ? prefill.kept[index] : undefined) ?? prefill.passing;
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
    this.#kept = { sequence, windows: Math.min(prefill.kept.length, Math.floor(end / window)) };
  }
}

async function bindProjections(context: ModelContext, weights: AttentionWeights, blockNorm: DeviceBuffer) {
  const { device, spec, activations: a, both, limits } = context;
  const { queryDown, queryUp } = weights;
  const input = blockInput(context, blockNorm);
  const pair = (matrix: DeviceMatrix, y: DeviceBuffer) =>
    LinearPair.create(context, { matrix, binding: { ...input, y } }, { matrix: weights.kvDown, binding: { ...input, y: a.kv } });
  if (queryDown === null) return { down: await pair(queryUp, a.q), queryUp: null };
  const rounded = a.queryRounded;
  const norm = await bindNorm(device, rmsNorm, { width: spec.queryRank!, inputStride: spec.queryRank!, eps: spec.latentNormEps }, {
    buffers: { x: a.queryDown, gamma: queryDown.norm, y: a.queryNormed },
    rounded,
    most: { rows: mostRows(limits), first_row: 0 },
  });
  return {
    down: await pair(queryDown.matrix, a.queryDown),
    queryUp: {
      norm,
      up: await Linear.create(context, queryUp, {
        x: a.queryNormed,
        rounded: rounded === null ? {} : { prefill: rounded, decode: rounded },
        unnormed: { x: a.queryDown, gamma: queryDown.norm, eps: spec.latentNormEps },
        y: a.q,
        most: both,
      }),
    },
  };
}

async function bindStore(context: ModelContext, weights: AttentionWeights, pages: DeviceBuffer) {
  const { device, spec, activations: a, limits, cache } = context;
  const { heads, nopeWidth } = spec;
  const [keyUp] = weights.keyUp.parts;
  const store = {
    kernel: ropeStore,
    config: {
      cache: cache.config,
      latentWidth: spec.latentWidth,
      rowStride: spec.latentWidth + spec.rope.width,
      eps: spec.latentNormEps,
      basis: weights.slicedNorm === null ? context.latents.basis : { sliced: weights.slicedNorm },
      slots: cache.slots,
      heads,
      queryWidth: queryWidth(spec),
      queries: a.queriesLayout,
      interleaved: spec.rope.interleaved,
      positions: cache.maxContext,
    },
    buffers: { x: a.kv, basis: weights.basis, step: a.step, table: context.ropeTable, q: a.q, queries: a.queries, cache: pages },
    most: { rows: mostRows(limits), absorbed_rows: limits.decodeRows },
  };
  const absorbed = (tokensAtOnce: number) => ({
    kernel: absorb,
    config: { layout: weights.keyUp.layout, heads, rows: nopeWidth, tokensAtOnce, inputStride: queryWidth(spec), queries: a.queriesLayout },
    buffers: { weights: keyUp.weights, scales: keyUp.scales, x: a.q, queries: a.queries },
    most: { items: limits.decodeRows * heads },
  });
  const absorbWay = async (from: number): Promise<AbsorbWay> => {
    const side = absorbed(from);
    const [absorbing, storeAndAbsorb] = await Promise.all([
      device.compile(absorb, side.config),
      Beside.create(device, store, side, { x: "q", queries: "queries" }),
    ]);
    context.kernelChanges.add(from);
    return { from, absorb: absorbing.bind(side.buffers, side.most), storeAndAbsorb };
  };
  const atOnce = absorbedAtOnce(weights.keyUp);
  const [storing, ...ways] = await Promise.all([
    device.compile(ropeStore, store.config),
    ...new Set([1, ...(atOnce <= limits.decodeRows ? [atOnce] : [])]).values().map(absorbWay),
  ]);
  return { store: storing.bind(store.buffers, store.most), absorb: ways };
}

async function bindDecode(context: ModelContext, weights: AttentionWeights, pages: DeviceBuffer) {
  const { device, spec, activations: a, limits, cache } = context;
  const { heads } = spec;
  const rows = limits.decodeRows;
  const { config, division } = context.decode;
  const { valueWidth, mostSplits, stripTokens } = config;
  // On matrix units each of the three gives the next what it takes: merged latents, values, and the output's input in f16.
  const values = {
    x: a.latentOut,
    y: a.heads,
    select: { kind: "head", heads },
    most: { prefill: 0, decode: rows },
    itemsPerRow: heads,
  } satisfies LinearBinding;
  const partial = context.group.ranks > 1;
  const merged = decodesOnUnits(context, { matrix: weights.valueUp, binding: values }) ? "f16" : "f32";
  const gives = givesTo(context, "f16", { matrix: weights.valueUp, binding: values }, { matrix: weights.output, binding: { most: context.both } });
  const [decode, merge, valueUp, output] = await Promise.all([
    division === null
      ? device.compile(latentDecode, { ...config, subgroups: device.features.subgroups, workgroupLimit: device.limits.maxWorkgroupBytes })
      : device.compile(latentDecodeMatrix, { ...config, division }),
    device.compile(latentMerge, { heads, valueWidth, mostSplits, stripTokens, output: merged }),
    Linear.create(context, weights.valueUp, { ...values, rounded: { decode: a.latentOut }, gives }),
    BlockOutput.create(context, weights.output, { x: a.heads, rounded: gives === "f16" ? { decode: a.heads } : {}, partial }),
  ]);
  return {
    decode: decode.bind(
      { queries: a.queries, cache: pages, tables: cache.tables, step: a.step, partial: a.partial },
      { rows, splits: mostSplits },
    ),
    merge: merge.bind({ step: a.step, partial: a.partial, y: a.latentOut }, { rows }),
    valueUp,
    output,
  };
}

async function bindPrefill(context: ModelContext, weights: AttentionWeights, pages: DeviceBuffer): Promise<PrefillParts | null> {
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
  return { kept: await Promise.all(kept.map(bind)), passing: await bind(a) };
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

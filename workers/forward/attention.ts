/**
 * One layer's attention, bound. Prefill expands keys and values and runs exact MLA (`prefill_attention.ts`); decode absorbs the up-projections and attends over
 * latents.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { shortPositions } from "../../core/model/rope.ts";
import { queryWidth } from "../../core/model/spec.ts";
import { absorb } from "../../kernels/absorb/absorb.ts";
import { Beside } from "../../kernels/device/beside.ts";
import type { BoundKernel, DeviceBuffer } from "../../kernels/device/device.ts";
import { absorbedAtOnce } from "../../kernels/linear/choose.ts";
import { latentDecode } from "../../kernels/latent_decode/latent_decode.ts";
import { latentLse } from "../../kernels/latent_decode/latent_lse.ts";
import { latentMerge } from "../../kernels/latent_decode/latent_merge.ts";
import { latentShare } from "../../kernels/latent_decode/latent_share.ts";
import { latentDecodeMatrix } from "../../kernels/latent_decode/matrix_units.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { scaleQueries } from "../../kernels/scale_queries/scale_queries.ts";
import { ropeStore } from "../../kernels/rope_store/rope_store.ts";
import { mostRows } from "./activations.ts";
import { type Block, blockInput, BlockOutput } from "./block.ts";
import type { CachedLayer, DecodeAttention, ModelContext, Step } from "./context.ts";
import { splitsOf } from "./decode_scripts.ts";
import { bindGather, Indexer } from "./indexer.ts";
import { Linear } from "./linear.ts";
import { decodesOnUnits, givesTo, type LinearBinding, type Phase } from "./linear_binding.ts";
import { LinearPair } from "./linear_pair.ts";
import { bindNorm } from "./norm.ts";
import type { Pending } from "./pending.ts";
import { PrefillAttention } from "./prefill_attention.ts";
import type { AttentionWeights, DeviceMatrix } from "./weights.ts";

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
  /** Null where queries do not depend on their position before they are rotated. */
  readonly scaleQueries: BoundKernel<"rows"> | null;
  readonly store: BoundKernel<"rows" | "absorbed_rows">;
  readonly absorb: readonly AbsorbWay[];
  readonly decode: BoundKernel<"rows" | "splits">;
  /** What this rank's tokens come to, where others have others; null where it has all. */
  readonly lse: BoundKernel<"rows"> | null;
  /** All of it, or this rank's part. */
  readonly merge: BoundKernel<"rows">;
  readonly valueUp: Linear;
  /** Null where it chooses no tokens: rows attend to what was chosen last, or to all. */
  readonly indexer: Indexer | null;
  /** Null where rows attend to all tokens. */
  readonly gather: BoundKernel<"rows"> | null;
  readonly prefill: PrefillAttention | null;
  readonly output: BlockOutput;
}

/** One attention block on one device. */
export class Attention implements Block {
  readonly #context: ModelContext;
  readonly #decode: DecodeAttention;
  readonly #parts: Parts;
  private constructor(context: ModelContext, decode: DecodeAttention, parts: Parts) {
    this.#context = context;
    this.#decode = decode;
    this.#parts = parts;
  }

  /** Compiles and binds the kernels of layer `layer`. @param norm what its input is normalised with */
  static async create(context: ModelContext, weights: AttentionWeights, norm: DeviceBuffer, layer: number): Promise<Attention> {
    const cached = context.cached[layer];
    const [projections, scaleQueries, indexer, gather, store, decode, prefill] = await Promise.all([
      bindProjections(context, weights, norm),
      bindQueryScaling(context),
      Indexer.create(context, weights.indexer, layer),
      bindGather(context, cached),
      bindStoreAndAbsorb(context, weights, cached),
      bindDecode(context, weights, cached),
      PrefillAttention.create(context, weights, cached),
    ]);
    return new Attention(context, cached.decode, { ...projections, scaleQueries, indexer, gather, ...store, ...decode, prefill });
  }

  get normalises(): boolean {
    // The indexer takes normalised rows, too.
    return this.#parts.indexer === null && this.#parts.down.normalises;
  }

  record(step: Step, unnormed: boolean): Pending {
    const { phase, rows: { length: rows } } = step;
    const { down, queryUp, scaleQueries, indexer, lse, output } = this.#parts;
    if (unnormed) down.runUnnormed();
    else down.run(phase, rows);
    if (queryUp !== null) this.#recordQueryUp(queryUp, phase, rows);
    indexer?.record(step);
    if (scaleQueries !== null) this.#context.device.run(scaleQueries, { rows });
    if (phase === "prefill") {
      this.#recordPrefill(step);
      return output.run(phase, rows);
    }
    this.#recordDecode(step);
    if (lse === null) return this.recordMerged(rows);
    this.#context.device.run(lse, { rows });
    return "shares";
  }

  /** Records the rest of a decode step, once ranks that share latents by tokens know what each other's come to. */
  recordMerged(rows: number): Pending {
    const { merge, valueUp, output } = this.#parts;
    this.#context.device.run(merge, { rows });
    valueUp.run("decode", rows);
    return output.run("decode", rows);
  }

  #recordQueryUp({ norm, up }: NonNullable<Parts["queryUp"]>, phase: Phase, rows: number): void {
    if (phase === "decode" && rows === 1 && up.normalises && this.#parts.indexer === null) return up.runUnnormed();
    this.#context.device.run(norm, { rows, first_row: 0 });
    up.run(phase, rows);
  }

  #recordPrefill(step: Step): void {
    const { store, prefill } = this.#parts;
    invariant(prefill !== null, "a rank that holds part of the latents cannot prefill");
    this.#context.device.run(store, { rows: step.rows.length, absorbed_rows: 0 });
    prefill.record(step);
  }

  #recordDecode(step: Step): void {
    const { device, spec } = this.#context;
    const parts = this.#parts;
    const rows = step.rows.length;
    const [stored, absorbed] = [{ rows, absorbed_rows: rows }, { items: rows * spec.heads }];
    const { absorb, storeAndAbsorb } = parts.absorb.findLast(({ from }) => rows >= from)!;
    if (storeAndAbsorb !== null) {
      storeAndAbsorb.run(stored, absorbed);
    } else {
      device.run(parts.store, stored);
      device.run(absorb, absorbed);
    }
    if (parts.gather !== null) device.run(parts.gather, { rows });
    device.run(parts.decode, { rows, splits: splitsOf(step, this.#decode) });
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

async function bindQueryScaling({ device, spec, activations: { step, q }, cache, queryFactors, limits }: ModelContext) {
  if (queryFactors === null) return null;
  const kernel = await device.compile(scaleQueries, { width: spec.heads * queryWidth(spec), positions: cache.maxContext });
  return kernel.bind({ factors: queryFactors, step, q }, { rows: mostRows(limits) });
}

/** Storing of latents, and of queries where they are. */
function storeBinding(context: ModelContext, weights: AttentionWeights, { pages, cache: config, queries }: CachedLayer) {
  const { spec, activations: a, limits, cache } = context;
  return {
    kernel: ropeStore,
    config: {
      cache: config,
      latentWidth: spec.latentWidth,
      rowStride: spec.latentWidth + spec.rope.width,
      eps: spec.latentNormEps,
      basis: weights.slicedNorm === null ? context.latents.basis : { sliced: weights.slicedNorm },
      slots: cache.slots,
      heads: spec.heads,
      queryWidth: queryWidth(spec),
      queries,
      interleaved: spec.rope.interleaved,
      positions: cache.maxContext,
      shortPositions: shortPositions(spec.rope),
    },
    buffers: { x: a.kv, basis: weights.basis, step: a.step, table: context.ropeTable, q: a.q, queries: a.queries, cache: pages },
    most: { rows: mostRows(limits), absorbed_rows: limits.decodeRows },
  };
}

/** What takes latents with rotated keys to a layer's pages. */
export async function bindLatentStore(
  context: ModelContext,
  weights: AttentionWeights,
  cached: CachedLayer,
): Promise<BoundKernel<"rows" | "absorbed_rows">> {
  const { kernel, config, buffers, most } = storeBinding(context, weights, cached);
  return (await context.device.compile(kernel, config)).bind(buffers, most);
}

async function bindStoreAndAbsorb(context: ModelContext, weights: AttentionWeights, cached: CachedLayer) {
  const { device, spec: { heads, nopeWidth }, activations: a, limits } = context;
  const [keyUp] = weights.keyUp.parts;
  const store = storeBinding(context, weights, cached);
  const absorbed = (tokensAtOnce: number) => ({
    kernel: absorb,
    config: { layout: weights.keyUp.layout, heads, rows: nopeWidth, tokensAtOnce, inputStride: queryWidth(context.spec), queries: cached.queries },
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
  const [stores, ...ways] = await Promise.all([
    device.compile(store.kernel, store.config).then((kernel) => kernel.bind(store.buffers, store.most)),
    ...new Set([1, ...(atOnce <= limits.decodeRows ? [atOnce] : [])]).values().map(absorbWay),
  ]);
  return { store: stores, absorb: ways };
}

async function bindDecode(context: ModelContext, weights: AttentionWeights, { pages, decode: { config, division } }: CachedLayer) {
  const { device, spec, activations: a, limits, cache, sharing, group: { rank, ranks } } = context;
  const { attended: step, partial } = a;
  const { heads } = spec;
  const rows = limits.decodeRows;
  const { valueWidth, usualSplits, mostSplits, longTokens, stripTokens } = config;
  // On matrix units each of the three gives the next what it takes: merged latents, values, and the output's input in f16.
  const values = {
    x: a.latentOut,
    y: a.heads,
    select: { kind: "head", heads },
    most: { prefill: 0, decode: rows },
    itemsPerRow: heads,
  } satisfies LinearBinding;
  const precision = decodesOnUnits(context, { matrix: weights.valueUp, binding: values }) ? "f16" : "f32";
  const gives = givesTo(context, "f16", { matrix: weights.valueUp, binding: values }, { matrix: weights.output, binding: { most: context.both } });
  const merging = { heads, valueWidth, usualSplits, mostSplits, longTokens, stripTokens, output: precision } as const;
  const merge = async () => {
    const buffers = { step, partial, y: a.latentOut };
    if (sharing === null) return { lse: null, merge: (await device.compile(latentMerge, merging)).bind(buffers, { rows }) };
    const [lse, share] = await Promise.all([device.compile(latentLse, merging), device.compile(latentShare, { ...merging, rank, ranks, sharing })]);
    return { lse: lse.bind({ step, partial, lse: a.lse }, { rows }), merge: share.bind({ ...buffers, own: a.lse, others: a.otherLse }, { rows }) };
  };
  const [decode, merged, valueUp, output] = await Promise.all([
    division === null
      ? device.compile(latentDecode, { ...config, subgroups: device.features.subgroups, workgroupLimit: device.limits.maxWorkgroupBytes })
      : device.compile(latentDecodeMatrix, { ...config, division }),
    merge(),
    Linear.create(context, weights.valueUp, { ...values, rounded: { decode: a.latentOut }, gives }),
    BlockOutput.create(context, weights.output, { x: a.heads, rounded: gives === "f16" ? { decode: a.heads } : {}, partial: ranks > 1 }),
  ]);
  return {
    decode: decode.bind(
      { queries: a.queries, cache: a.sparse?.latents ?? pages, tables: a.sparse?.tables ?? cache.tables, step, partial },
      { rows, splits: mostSplits },
    ),
    ...merged,
    valueUp,
    output,
  };
}

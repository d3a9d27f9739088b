/**
 * What all parts of a model share, from its weights, its sizes and its device: caches, activations, and which kernels run.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { type IndexDtype, indexDtypeFor } from "../../core/cache/cache_dtype.ts";
import { blockTokensOf, keptTokens } from "../../core/cache/token_share.ts";
import { indexedLayers, type ModelSpec } from "../../core/model/spec.ts";
import { queryFactors } from "../../core/model/query_factors.ts";
import { ropeTable, shortPositions } from "../../core/model/rope.ts";
import { invariant } from "../../core/errors.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { ALONE, type GroupPlace } from "../../core/tpla/group_place.ts";
import type { LatentColumns } from "../../core/tpla/latent_columns.ts";
import type { Device } from "../../kernels/device/device.ts";
import { indexKeyConfig } from "../../kernels/index_keys/index_keys.ts";
import { type CacheDtype, cacheTokenBytes, type LatentConfig } from "../../kernels/latent_cache/layout.ts";
import { type LatentDecodeConfig, queriesOf } from "../../kernels/latent_decode/latent_decode.ts";
import { divideForMatrixUnits, splittingFor } from "../../kernels/latent_decode/matrix_units.ts";
import { DEFAULT_SPLITTING } from "../../kernels/latent_decode/splits.ts";
import { paysOnUnits } from "../../kernels/linear/choose.ts";
import { createActivations, type StepLimits } from "./activations.ts";
import { attendsInHalves } from "./prefill_attention.ts";
import type { ModelContext } from "./context.ts";
import { KeptHidden } from "./kept_hidden.ts";
import { chosenRoom } from "./sparse_activations.ts";
import { sparsePrefillWay } from "./sparse_way.ts";
import { type CachePurpose, LatentCache, type LatentCacheOptions } from "./latent_cache.ts";
import { StepClock } from "./step_clock.ts";
import type { ModelWeights } from "./weights.ts";

/** Sizes of a a model. */
export interface ModelOptions {
  /** Where it stands among the ranks that share it; default: it is alone. */
  readonly group?: GroupPlace;
  readonly cacheDtype: CacheDtype;
  /** Precision of cached index keys; default: that of latents, or f16 where they are in eight bits. */
  readonly indexDtype?: IndexDtype;
  /** Tokens all sequences together may hold in the latent cache. */
  readonly maxTokens: number;
  /** Longest sequence. */
  readonly maxContext: number;
  readonly maxSequences: number;
  readonly limits: StepLimits;
  /** What the cache is for, to say what makes it smaller; default: sequences that are generated, or all there are. */
  readonly caches?: CachePurpose;
  /** Of all models whose steps one worker runs in turns; default: one of its own. */
  readonly clock?: StepClock;
}

/** How tokens lie in a layer's cache. */
function cacheConfigOf(dtype: CacheDtype, { rope }: ModelSpec, { keyWidth, scaleGroups }: LatentColumns): LatentConfig {
  const config = { dtype, keyWidth, ropeWidth: rope.width };
  return dtype === "q8" ? { ...config, groups: scaleGroups } : config;
}

/** How index keys are cached, and in which layers. */
function indexKeysOf(dtype: IndexDtype, spec: ModelSpec): LatentCacheOptions["indexKeys"] {
  if (spec.indexer === null) return null;
  return { config: indexKeyConfig(spec.indexer.width, dtype), layers: indexedLayers(spec) };
}

/** Allocates and chooses. @throws {LatentmeshError} `out_of_memory` */
export function createContext(device: Device, { spec, latents, layers }: ModelWeights, options: ModelOptions): ModelContext {
  const { limits, maxContext, group = ALONE, caches, clock = new StepClock(device) } = options;
  const configs = perColumns(latents.layers, (columns) => cacheConfigOf(options.cacheDtype, spec, columns));
  const cache = new LatentCache(device, {
    configs,
    blocks: ceilDiv(options.maxTokens, blockTokensOf(latents.tokens)),
    tokens: latents.tokens,
    maxContext,
    maxSequences: options.maxSequences,
    purpose: caches,
    indexKeys: indexKeysOf(indexDtypeFor(options.cacheDtype, options.indexDtype), spec),
  });
  const { queryScaling } = spec;
  const { index, of } = latents.tokens;
  const sharing = of === 1 ? null : { begin: group.rank - index, end: group.rank - index + of };
  invariant(sharing === null || sharing.begin >= 0 && sharing.end <= group.ranks, "a rank that shares tokens is among those that have the others");
  const filled = (label: string, floats: number, make: () => Float32Array<ArrayBuffer>) => {
    const buffer = device.createBuffer(label, floats * 4);
    // Of long contexts, sines and cosines take a second, and a choice of units makes some twenty plans.
    if (!device.onlyCounts) device.write(buffer, 0, make());
    return buffer;
  };
  const { indexer } = spec;
  const matrixUnits = device.features.matrixUnits && options.cacheDtype !== "f32";
  const kept = Math.min(keptTokens({ ...latents.tokens, index: 0 }, maxContext), indexer?.topTokens ?? Infinity);
  const attended = perColumns(latents.layers, ({ valueOffset, valueColumns: { begin, end } }, layer) => {
    const shape = {
      cache: configs[layer],
      ...latentsOf(spec, cache),
      heads: spec.heads,
      valueOffset,
      valueWidth: end - begin,
      scale: spec.attentionScale,
    };
    const division = matrixUnits ? divideForMatrixUnits(shape, device.limits.maxWorkgroupBytes) : null;
    const config: LatentDecodeConfig = {
      ...shape,
      ...(division === null ? DEFAULT_SPLITTING : splittingFor(shape, division, limits.decodeRows, kept)),
    };
    return { cache: configs[layer], decode: { config, division, indexer }, queries: queriesOf(config, division === null ? "f32" : "f16") };
  });
  const decodesOnUnits = matrixUnits && paysOnUnits(limits.decodeRows);
  const halves = attendsInHalves({ device, matrixUnits }, spec, configs, layers);
  const lasting = {
    device,
    clock,
    group,
    spec,
    latents,
    sharing,
    cache,
    cached: cache.layers.map((pages, layer) => ({ pages, ...attended[layer] })),
    kept: spec.mtp ? new KeptHidden(device, options.maxSequences, spec.hiddenSize) : null,
    matrixUnits,
    halves,
    decodesOnUnits,
    ropeTable: filled("rope table", (maxContext + shortPositions(spec.rope)) * spec.rope.width, () => ropeTable(spec.rope, maxContext)),
    queryFactors: queryScaling === null ? null : filled("query factors", maxContext, () => queryFactors(queryScaling, maxContext)),
    kernelChanges: new Set<number>(),
  };
  return withMemory(lasting, limits);
}

/** Something of every layer, made once for those whose latents are cut alike. */
function perColumns<T>(layers: readonly LatentColumns[], make: (columns: LatentColumns, layer: number) => T): T[] {
  const made = new Map<LatentColumns, T>();
  return layers.map((columns, layer) => {
    const known = made.get(columns) ?? make(columns, layer);
    made.set(columns, known);
    return known;
  });
}

/** Where decode finds the latents that a row attends to: in the cache, or where those that were chosen are copied to, of which each row has as many. */
function latentsOf({ indexer }: ModelSpec, { slots, tableWords, maxContext }: LatentCache): Pick<LatentDecodeConfig, "slots" | "tableWords"> {
  if (indexer === null) return { slots, tableWords };
  const room = chosenRoom(indexer, maxContext);
  return { slots: room, tableWords: room / BLOCK_TOKENS };
}

/** The same with working memory of its own, for steps of other limits. */
export function contextWith(context: ModelContext, limits: StepLimits): ModelContext {
  return withMemory(context, limits);
}

/** What steps of some limits need, on top of what lasts. */
function withMemory(lasting: Omit<ModelContext, "limits" | "both" | "activations" | "sparseWay">, limits: StepLimits): ModelContext {
  const { device, spec, sharing, cached, matrixUnits, decodesOnUnits, halves, group } = lasting;
  const shares = sharing !== null;
  const { maxContext } = lasting.cache;
  // What is chosen of tokens lies where that of all layers does in turn.
  const cache = cached.map((layer) => layer.cache).reduce((widest, one) => cacheTokenBytes(one) > cacheTokenBytes(widest) ? one : widest);
  const decodes = cached.map(({ decode: { config } }) => config);
  const sparseWay = halves && !shares ? sparsePrefillWay(device, spec, decodes, { prefillRows: limits.prefillRows, maxContext }) : null;
  const activations = createActivations(device, spec, limits, {
    layers: cached.map(({ queries, decode: { config: { mostSplits } } }) => ({ queries, mostSplits })),
    shares,
    matrixUnits,
    decodesOnUnits,
    halves,
    sparseWay,
    cache,
    maxContext,
    ...group,
  });
  return { ...lasting, sparseWay, limits, both: { prefill: limits.prefillRows, decode: limits.decodeRows }, activations };
}

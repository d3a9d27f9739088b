/**
 * Working memory of the forward pass: allocated once for the largest step, reused by every layer.
 *
 * @module
 */
import { type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { queriesBytes, type QueriesConfig } from "../../kernels/latent_decode/queries.ts";
import { partialWidth } from "../../kernels/latent_decode/splits.ts";
import type { CacheConfig } from "../../kernels/latent_cache/layout.ts";
import { type MoePlan, planOf, plansFor } from "../../kernels/moe_plan/layout.ts";
import { createSparseActivations, type SparseActivations } from "./sparse_activations.ts";
import type { SparsePrefillWay } from "./sparse_way.ts";

/** Largest sizes of a step. */
export interface StepLimits {
  /** Tokens of one prefill step. */
  readonly prefillRows: number;
  /** Rows of one decode step. */
  readonly decodeRows: number;
  /** Tokens of context whose keys and values are expanded at a time in prefill. */
  readonly window: number;
  /** Windows whose keys and values are kept for the chunks of the same prompt that follow; default: 0. */
  readonly keptWindows?: number;
  /** Rows whose logits are computed at a time. */
  readonly logitRows: number;
}

/** The buffers; f32 unless said otherwise. */
export interface Activations {
  /** [rows, 4] words: token, position, cache slot, first word of the block table. */
  readonly step: DeviceBuffer;
  /**
   * The same as decode attention reads it, with positions counted among the tokens that this rank keeps, where others keep others, or among those that are chosen;
   * otherwise that very buffer.
   */
  readonly attended: DeviceBuffer;
  /** Residual stream, [rows, D]; longer by one slice of logit rows, so that a slice may begin at any row. */
  readonly x: DeviceBuffer;
  /** Normalised input of a block, [rows, D]. */
  readonly h: DeviceBuffer;
  /** The same in f16, where decode runs on matrix units; null where no linear layer of it takes as many columns. */
  readonly hRounded: DeviceBuffer | null;
  /** Output of a block before it joins the residual stream, [rows, D]; of a rank among others, its part of it. */
  readonly delta: DeviceBuffer;
  /** That part as it is sent, where it is rounded to f16: [rows, D]. */
  readonly sentPart: DeviceBuffer;
  /** The other ranks' parts as they were sent, [ranks - 1, rows, D]. */
  readonly otherParts: DeviceBuffer;
  readonly queryDown: DeviceBuffer;
  readonly queryNormed: DeviceBuffer;
  readonly queryRounded: DeviceBuffer | null;
  /** [rows, heads, d_n + d_r] */
  readonly q: DeviceBuffer;
  /** What comes before a layer that drafts, [rows, 2 D]: where queries are not yet. */
  readonly joined: DeviceBuffer;
  /** Where hidden states are and go, [rows, 2] words; see `kept_hidden.ts`. */
  readonly places: DeviceBuffer;
  /** [rows, d_c + d_r] */
  readonly kv: DeviceBuffer;
  /** Absorbed queries, [decode rows, heads, width of a slot of the layer's cache]; see kernels/latent_decode/queries.ts. */
  readonly queries: DeviceBuffer;
  readonly partial: DeviceBuffer;
  /** What this rank's tokens come to in attention, and those of the others: [decode rows, heads] and [ranks - 1, decode rows, heads] log-sum-exps. */
  readonly lse: DeviceBuffer;
  readonly otherLse: DeviceBuffer;
  /** [decode rows, heads, columns that are values]; in f16 for matrix units, as are, in decode, `heads` and what the layers of a feed-forward block give the next. */
  readonly latentOut: DeviceBuffer;
  /** [rows, heads, d_v] */
  readonly heads: DeviceBuffer;
  /** Expanded window of context: [window, d_c], [window, d_r], [window, heads, d_n], [window, heads, d_v]; in f16 where matrix units attend to it. */
  readonly latents: DeviceBuffer;
  readonly ropeKeys: DeviceBuffer;
  readonly keys: DeviceBuffer;
  readonly values: DeviceBuffer;
  /** What prefill attention has of splits before they are merged, [splits, rows, heads, 2] and [splits, rows, heads, d_v]: as many splits as there is room for. */
  readonly splitState: DeviceBuffer;
  readonly splitSums: DeviceBuffer;
  /** [rows, heads, 2], of those that are merged; their sums are in `heads`. */
  readonly softmaxState: DeviceBuffer;
  /** Dense, shared and routed feed-forward layers: gates and values, or in decode on matrix units silu(gate) · value. */
  readonly gateUp: DeviceBuffer;
  readonly routerLogits: DeviceBuffer;
  /** [rows, active experts] words, and f32 weights. */
  readonly routes: DeviceBuffer;
  readonly gates: DeviceBuffer;
  readonly plan: DeviceBuffer;
  readonly expertGateUp: DeviceBuffer;
  readonly expertOut: DeviceBuffer;
  /** What experts beside a dense block give until it joins the residual stream, [rows, D]; of a rank among others, its part of it. */
  readonly shortcut: DeviceBuffer;
  readonly plans: readonly MoePlan[];
  /** Inputs of a linear layer in f16, as matrix units take them, where who wrote them has not rounded them. Nothing where there are no units. */
  readonly rounded: DeviceBuffer;
  /** Of sparse attention; null where rows attend to all tokens. */
  readonly sparse: SparseActivations | null;
}

/** What working memory depends on besides the model and the largest step. */
export interface ActivationOptions {
  /** How absorbed queries lie, which also tells what this rank keeps of a token, and most splits of a row in decode attention: in each layer. */
  readonly layers: readonly { readonly queries: QueriesConfig; readonly mostSplits: number }[];
  /** Whether linear layers run on matrix units, and whether those of decode do. */
  readonly matrixUnits: boolean;
  readonly decodesOnUnits: boolean;
  /** Ranks whose parts are summed, and the precision of parts on their way. */
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  /** Whether ranks share latents by tokens. */
  readonly shares: boolean;
  /** Whether prefill attends to keys and values in f16. */
  readonly halves: boolean;
  /** How rows of prefill attend to nothing but what was chosen; null: they never do. */
  readonly sparseWay: SparsePrefillWay | null;
  /** How this rank caches latents, and its longest sequence. */
  readonly cache: CacheConfig;
  readonly maxContext: number;
}

/** Rows that buffers used in both phases must hold. */
export function mostRows(limits: StepLimits): number {
  return Math.max(limits.prefillRows, limits.decodeRows);
}

/**
 * Allocates everything.
 *
 * @throws {LatentmeshError} `out_of_memory`
 */
export function createActivations(
  device: Device,
  spec: ModelSpec,
  limits: StepLimits,
  { layers, matrixUnits, decodesOnUnits, halves, sparseWay, shares, ranks, wire, cache, maxContext }: ActivationOptions,
): Activations {
  const rows = mostRows(limits);
  const { hiddenSize: D, heads, latentWidth, nopeWidth, valueWidth, rope, moe, mtp } = spec;
  const denseWidth = Math.max(spec.denseLayers > 0 ? spec.denseWidth : 0, moe?.sharedWidth ?? 0);
  const pairs = rows * (moe?.activeExperts ?? 0);
  const plans = plansFor(limits.prefillRows * (moe?.activeExperts ?? 0), moe?.experts ?? 0, matrixUnits);
  const floats = (label: string, count: number) => device.createBuffer(label, count * 4);
  const rounded = (label: string, width: number) =>
    decodesOnUnits && width > 0 && width % 8 === 0 ? device.createBuffer(label, rows * width * 2) : null;
  const expanded = (label: string, width: number) => device.createBuffer(label, limits.window * width * (halves ? 2 : 4));
  const widest = (of: (layer: ActivationOptions["layers"][number]) => number) => Math.max(...layers.map(of));
  const step = floats("step", rows * 4);
  const sums = shares ? limits.decodeRows * heads : 0;
  const q = floats("q", rows * Math.max(heads * queryWidth(spec), mtp ? 2 * D : 0));
  return {
    step,
    attended: shares || spec.indexer !== null ? floats("step among tokens that are attended to", limits.decodeRows * 4) : step,
    x: floats("x", (rows + limits.logitRows) * D),
    h: floats("h", rows * D),
    hRounded: rounded("h rounded", D),
    delta: floats("delta", rows * D),
    sentPart: device.createBuffer("sent part", wire === "f32" ? 0 : rows * D * 2),
    otherParts: device.createBuffer("other ranks' parts", (ranks - 1) * rows * D * (wire === "f32" ? 4 : 2)),
    queryDown: floats("query down", rows * (spec.queryRank ?? 0)),
    queryNormed: floats("query normed", rows * (spec.queryRank ?? 0)),
    queryRounded: rounded("query rounded", spec.queryRank ?? 0),
    q,
    joined: q,
    places: floats("places", mtp ? rows * 2 : 0),
    kv: floats("kv", rows * (latentWidth + rope.width)),
    queries: device.createBuffer("absorbed queries", widest(({ queries }) => queriesBytes(queries, limits.decodeRows * heads))),
    // Values are some of the columns that are kept.
    partial: floats(
      "partial attention",
      limits.decodeRows * heads * widest(({ queries, mostSplits }) => mostSplits * partialWidth(queries.keyWidth)),
    ),
    lse: floats("log-sum-exps", sums),
    otherLse: floats("other ranks' log-sum-exps", (ranks - 1) * sums),
    latentOut: floats("latent out", limits.decodeRows * heads * widest(({ queries }) => queries.keyWidth)),
    heads: floats("heads", rows * heads * valueWidth),
    latents: expanded("window latents", latentWidth),
    ropeKeys: expanded("window rope keys", rope.width),
    keys: expanded("window keys", heads * nopeWidth),
    values: expanded("window values", heads * valueWidth),
    splitState: floats("split state", limits.prefillRows * heads * 2),
    splitSums: floats("split sums", limits.prefillRows * heads * valueWidth),
    softmaxState: floats("softmax state", limits.prefillRows * heads * 2),
    gateUp: floats("gate up", rows * denseWidth * 2),
    routerLogits: floats("router logits", rows * (moe === null ? 0 : moe.experts + moe.identityExperts)),
    routes: floats("routes", pairs),
    gates: floats("gates", pairs),
    plan: floats("expert plan", Math.max(...plans.map((plan) => planOf(plan).words))),
    expertGateUp: floats("expert gate up", pairs * (moe?.expertWidth ?? 0) * 2),
    expertOut: floats("expert out", pairs * D),
    shortcut: floats("shortcut", moe?.shortcut ? rows * D : 0),
    plans,
    sparse: createSparseActivations(device, spec, limits, { cache, maxContext, way: sparseWay }),
    rounded: device.createBuffer(
      "rounded inputs",
      matrixUnits ? mostInputs(spec, decodesOnUnits ? rows : limits.prefillRows, halves ? 0 : limits.window) * 2 : 0,
    ),
  };
}

/** Most values that a linear layer takes. */
function mostInputs(
  { hiddenSize, heads, latentWidth, valueWidth, queryRank, denseLayers, denseWidth, moe, mtp }: ModelSpec,
  rows: number,
  window: number,
): number {
  const perRow = Math.max(
    mtp ? 2 * hiddenSize : hiddenSize,
    queryRank ?? 0,
    heads * valueWidth,
    denseLayers > 0 ? denseWidth : 0,
    moe?.sharedWidth ?? 0,
    (moe?.activeExperts ?? 0) * (moe?.expertWidth ?? 0),
  );
  return Math.max(rows * perRow, window * latentWidth);
}

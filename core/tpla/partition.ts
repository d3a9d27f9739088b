/**
 * What each rank of a decode group holds (TPLA, arXiv 2508.15881, with a halo and with heads split inside each latent group).
 *
 * Rank i·m + j of k = g·m ranks belongs to latent group i and takes heads block j. Its values are the i-th block S_i of latent directions in the new basis;
 * its keys are K_i = S_i and the halo, the first r directions, which every rank keeps. Where a calibration has chosen widths (`latent_columns.ts`), every rank
 * caches as many directions as any other, and each layer has its own number of them.
 *
 * Where the ranks of a latent group share its latents by tokens (decode context parallelism), rank i·c + t of k = g·c ranks takes all heads, and keeps the t-th of
 * every c blocks of tokens (core/cache/token_share.ts).
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import { ALL_TOKENS, type TokenShare } from "../cache/token_share.ts";
import type { Range } from "../model/matrix_source.ts";
import { cachedLayers, type ModelSpec } from "../model/spec.ts";
import { roundUp } from "../numeric.ts";
import { blockOf, type LatentColumns, latentColumns } from "./latent_columns.ts";

/** How a decode group is cut. */
export interface PartitionOptions {
  /** k */
  readonly ranks: number;
  /** g; divides the ranks. */
  readonly latentGroups: number;
  /** r: latent directions that every rank keeps as keys. */
  readonly halo: number;
  /**
   * |K_i| of every rank by layer, instead of a halo, as a calibration has chosen them. A layer that drafts has none: it has the halo.
   */
  readonly widths?: readonly number[];
  /** c: ranks among which the latents of each latent group are shared by tokens. Default: 1; every rank of it has all tokens, and heads are split among them. */
  readonly tokenShares?: number;
  /** Whether the ranks share feed-forward blocks (default), or each has them whole: half the sums, for the memory. */
  readonly feedForward?: "sharded" | "replicated";
}

/** A model that nobody shares. */
export const UNCUT: PartitionOptions = { ranks: 1, latentGroups: 1, halo: 0 };

/** What one rank holds. Ranges are half-open; widths may differ by one between ranks where they do not divide. */
export interface RankShape {
  readonly rank: number;
  readonly latentGroup: number;
  /** Tokens of every sequence whose latents it keeps. */
  readonly tokens: TokenShare;
  /** Heads whose queries, keys and values it computes. */
  readonly heads: Range;
  /** Of the latent, by layer whose latents are cached. */
  readonly latents: readonly LatentColumns[];
  /** Columns of the intermediate width of dense layers, of each routed expert and of the shared expert. */
  readonly dense: Range;
  readonly expert: Range;
  readonly shared: Range;
  /** Rows of the vocabulary projection. */
  readonly vocabulary: Range;
}

/** d_c / 8, rounded up to a multiple of eight, at most d_c. */
export function defaultHalo(latentWidth: number): number {
  return Math.min(latentWidth, roundUp(Math.ceil(latentWidth / 8), 8));
}

/**
 * What each rank of a group has of attention to compute prompts with, exactly and over whole latents; everything else is as in the group's own cut. Ranks that share
 * feed-forward blocks split heads, too. Where each has those whole it has all heads, and computes prompts by itself: there is nothing to sum.
 *
 * @throws {LatentmeshError} `invalid_config` if there are more ranks than heads that they would have to split
 */
export function promptShapes(spec: ModelSpec, cut: PartitionOptions): RankShape[] {
  const { ranks, feedForward } = cut;
  if (feedForward !== "replicated") {
    if (ranks > spec.heads) {
      const remedy = "have feed-forward blocks whole on every rank (decode.feedForward: replicated), or prompts computed by prefill units";
      const problem = `they split heads for that, of which the model has only ${spec.heads}; ${remedy}`;
      throw new LatentmeshError("invalid_config", `Cannot compute prompts among ${ranks} ranks: ${problem}`, { param: "decode.ranks" });
    }
    return partition(spec, { ...UNCUT, ranks, feedForward }, cut);
  }
  const [whole] = partition(spec, UNCUT, cut);
  return partition(spec, cut).map(({ rank, dense, expert, shared, vocabulary }) => ({ ...whole, rank, dense, expert, shared, vocabulary }));
}

/**
 * Cuts a model for a decode group, or for a unit that computes prompts.
 *
 * @param handed how those are cut that latents are handed to, if others are: what shares a scale does not lie on both sides of a cut of theirs
 * @returns one shape per rank, in rank order
 * @throws {LatentmeshError} `invalid_config` if the numbers do not fit each other or the model
 */
export function partition(spec: ModelSpec, cut: PartitionOptions, handed: PartitionOptions = cut): RankShape[] {
  const { ranks, latentGroups, halo, tokenShares = 1, feedForward = "sharded" } = cut;
  const refuse = (param: string, problem: string): never => {
    throw new LatentmeshError("invalid_config", `Cannot split the model over ${ranks} ranks: ${problem}`, { param });
  };
  if (ranks % latentGroups !== 0) refuse("decode.latentGroups", `latentGroups is ${latentGroups}, which does not divide ranks`);
  if (latentGroups > spec.latentWidth) {
    refuse("decode.latentGroups", `latentGroups is ${latentGroups}, but the latent has only ${spec.latentWidth} directions`);
  }
  if (halo < 0 || halo > spec.latentWidth) refuse("decode.halo", `halo is ${halo}; it must be 0 … ${spec.latentWidth}`);
  if (tokenShares > 1 && tokenShares * latentGroups !== ranks) {
    refuse(
      "decode.ranks",
      `latents of ${latentGroups} latent groups are shared by tokens among ${tokenShares} ranks each, which makes ${tokenShares * latentGroups}`,
    );
  }
  const headBlocks = ranks / latentGroups / tokenShares;
  if (headBlocks > spec.heads) refuse("decode.ranks", `ranks / latentGroups is ${headBlocks}, but the model has only ${spec.heads} heads`);
  const sharded = feedForward === "sharded";
  const widths: [string, number][] = [
    ["dense", sharded && spec.denseLayers > 0 ? spec.denseWidth : ranks],
    ["expert", sharded && spec.moe !== null ? spec.moe.expertWidth : ranks],
    ["vocabulary", spec.vocabSize],
  ];
  for (const [name, width] of widths) if (width < ranks) refuse("decode.ranks", `the ${name} width is only ${width}`);

  const columns = columnsByLayer(spec, cut, handed, refuse);
  return Array.from({ length: ranks }, (_, rank): RankShape => {
    const latentGroup = Math.floor(rank / (headBlocks * tokenShares));
    const shareOf = (width: number) => sharded ? blockOf(width, ranks, rank) : { begin: 0, end: width };
    return {
      rank,
      latentGroup,
      tokens: tokenShares === 1 ? ALL_TOKENS : { index: rank % tokenShares, of: tokenShares },
      heads: blockOf(spec.heads, headBlocks, rank % headBlocks),
      latents: columns.map((groups) => groups[latentGroup]),
      dense: shareOf(spec.denseWidth),
      expert: shareOf(spec.moe?.expertWidth ?? 0),
      shared: shareOf(spec.moe?.sharedWidth ?? 0),
      vocabulary: blockOf(spec.vocabSize, ranks, rank),
    };
  });
}

/** The model as one rank computes it: with its share of heads and intermediate widths. Embedding, latents before the basis, and router are whole on every rank. */
export function rankSpec(spec: ModelSpec, shape: RankShape): ModelSpec {
  const length = ({ begin, end }: Range) => end - begin;
  return {
    ...spec,
    heads: length(shape.heads),
    denseWidth: length(shape.dense),
    moe: spec.moe === null ? null : { ...spec.moe, expertWidth: length(shape.expert), sharedWidth: length(shape.shared) },
  };
}

/** What each latent group has of every layer: [layer][group]. Layers that are cut alike have the same arrays. */
function columnsByLayer(
  { latentWidth, layers, ...spec }: ModelSpec,
  cut: PartitionOptions,
  handed: PartitionOptions,
  refuse: (param: string, problem: string) => never,
): (readonly LatentColumns[])[] {
  for (const { widths } of [cut, handed]) {
    if (widths === undefined) continue;
    if (widths.length !== layers) refuse("decode.halo", `there are widths for ${widths.length} layers, and the model has ${layers}`);
  }
  const known = new Map<string, readonly LatentColumns[]>();
  return Array.from({ length: cachedLayers({ layers, ...spec }) }, (_, layer) => {
    const [own, theirs] = [cut, handed].map(({ latentGroups, halo, widths }) => ({ latentGroups, halo, width: widths?.[layer] }));
    const key = `${own.width} ${theirs.width}`;
    const made = known.get(key) ?? latentColumns(latentWidth, own, theirs) ??
      refuse(
        "decode.halo",
        `layer ${layer} has ${own.width ?? theirs.width} directions on each rank, which its latent of ${latentWidth} cannot be cut into`,
      );
    known.set(key, made);
    return made;
  });
}

/** The columns of some ranges, one by one. */
export function columnIndices(ranges: readonly Range[]): number[] {
  return ranges.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i));
}

/**
 * Some columns of diag(gain) A⁻ᵀ, each as a row: W' = W diag(gain) A⁻ᵀ has their products with the rows of W.
 *
 * @param inverse A⁻ᵀ, [d, d]
 * @param scale multiplies all of it
 * @returns [columns, d]
 */
export function basisFactors(gain: Float32Array, inverse: Float64Array, columns: readonly number[], scale = 1): Float32Array<ArrayBuffer> {
  const width = gain.length;
  const factors = new Float32Array(columns.length * width);
  columns.forEach((column, c) => {
    for (let j = 0; j < width; j++) factors[c * width + j] = scale * gain[j] * inverse[j * width + column];
  });
  return factors;
}

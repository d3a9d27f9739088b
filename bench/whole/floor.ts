/**
 * What a decode step takes at the least: the bytes that the rank with most of them must read, and the sums between ranks.
 *
 * @module
 */
import { type CacheDtype, indexDtypeFor } from "../../core/cache/cache_dtype.ts";
import { keptTokens } from "../../core/cache/token_share.ts";
import { isHostChoice } from "../../core/device_kind.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { partition, type PartitionOptions, type RankShape, UNCUT } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, collectivesPerStep, indexBytesPerToken, perToken } from "../../core/tpla/plan.ts";
import { resolveCut, SCHEME_DEFAULTS } from "../../core/tpla/scheme.ts";
import { MeasuringDevice } from "../../kernels/device/measuring_device.ts";
import { loadWeights } from "../../workers/load/loader.ts";
import { openModelFiles } from "../../workers/load/model_files.ts";
import { type DeviceMatrix, isMoe, type ModelWeights } from "../../workers/forward/weights.ts";
import type { Case, Run, WholeOptions } from "./options.ts";

/** Bytes that one rank reads in a step. */
export interface StepBytes {
  /** Of weights; of routed experts those that chance lets the rows of a batch use. */
  readonly weights: number;
  /** With index keys. */
  readonly latents: number;
}

/** One rank's weights, by how a step reads them. */
interface RankWeights {
  readonly shape: RankShape;
  /** Read whole in every step. */
  readonly always: number;
  /** All routed experts. */
  readonly experts: number;
  /** A row of the embedding. */
  readonly row: number;
}

/** What the ranks of a run hold, which is known without a server. */
export class Floor {
  readonly spec: ModelSpec;
  readonly #ranks: readonly RankWeights[];
  readonly #cacheDtype: CacheDtype;

  private constructor(spec: ModelSpec, ranks: readonly RankWeights[], cacheDtype: CacheDtype) {
    this.spec = spec;
    this.#ranks = ranks;
    this.#cacheDtype = cacheDtype;
  }

  /** @param feedForward whether ranks share feed-forward blocks, as the server has decided */
  static async of(options: WholeOptions, run: Run, feedForward: "sharded" | "replicated"): Promise<Floor> {
    const { model, weights } = options;
    using files = openModelFiles(model);
    const spec = parseModelConfig(await readConfigText(files), model);
    const checkpoint = await Checkpoint.open(files);
    const changesBasis = run.attention === "tpla";
    const ranks: RankWeights[] = [];
    for (const shape of partition(spec, cutOf(spec, options, run, feedForward))) {
      ranks.push(await rankWeights(checkpoint, spec, { shape, weights, changesBasis }));
    }
    return new Floor(spec, ranks, options.cacheDtype ?? (isHostChoice(run.device) ? "f32" : "f16"));
  }

  /** Exchanges of a step if ranks share feed-forward blocks so. */
  static exchanges(spec: ModelSpec, options: WholeOptions, run: Run, feedForward: "sharded" | "replicated"): number {
    return collectivesPerStep(spec, cutOf(spec, options, run, feedForward));
  }

  /** Bytes of a token that the rank caches which caches most, all layers; a mean where ranks keep some tokens each. */
  get cachedBytesPerToken(): number {
    return Math.max(...this.#ranks.map(({ shape }) => perToken(shape, cacheBytesPerToken(this.spec, shape, this.#cacheDtype))));
  }

  /** Of the rank that reads most. */
  bytes({ batch, context }: Case): StepBytes {
    const { moe, indexer } = this.spec;
    const used = moe === null ? 0 : distinctShare(moe.activeExperts / moe.experts, batch);
    const indexBytes = indexBytesPerToken(this.spec, indexDtypeFor(this.#cacheDtype));
    const all = this.#ranks.map(({ shape, always, experts, row }): StepBytes => {
      const tokens = keptTokens(shape.tokens, context);
      // Index keys of all tokens are read, latents of those alone that are chosen: in equal parts by ranks that share them.
      const attended = Math.min(tokens, (indexer?.topTokens ?? Infinity) / shape.tokens.of);
      const latents = attended * (cacheBytesPerToken(this.spec, shape, this.#cacheDtype) - shape.tokens.of * indexBytes);
      return { weights: always + experts * used + batch * row, latents: batch * (latents + context * indexBytes) };
    });
    return all.reduce((most, one) => one.weights + one.latents > most.weights + most.latents ? one : most);
  }
}

/** Of all experts, the part that `rows` rows use which each choose a `share` of them by chance. */
export function distinctShare(share: number, rows: number): number {
  return 1 - (1 - share) ** rows;
}

function cutOf(spec: ModelSpec, { halo }: WholeOptions, { ranks, attention }: Run, feedForward: "sharded" | "replicated"): PartitionOptions {
  if (ranks === null) return UNCUT;
  const scheme = { ...SCHEME_DEFAULTS, attention, ranks, halo: attention === "tpla" && typeof halo === "number" ? halo : undefined, feedForward };
  return resolveCut(spec, scheme);
}

async function rankWeights(
  checkpoint: Checkpoint,
  spec: ModelSpec,
  { shape, weights: policy, changesBasis }: { readonly shape: RankShape; readonly weights: WeightPolicy; readonly changesBasis: boolean },
): Promise<RankWeights> {
  const weights = await loadWeights(new MeasuringDevice(), checkpoint, spec, {
    weights: policy,
    shard: { shape, bases: changesBasis ? [] : null },
    dry: true,
  });
  const experts = weights.layers.flatMap(({ feedForward }) => isMoe(feedForward) ? [feedForward.experts.gateUp, feedForward.experts.down] : []);
  const { embedding } = weights;
  return {
    shape,
    always: sum(alwaysRead(weights).map(bytesOf)) + sum(weights.layers.map(({ attention }) => attention.basis.bytes)),
    experts: sum(experts.map(bytesOf)),
    row: embedding.layout.rowBytes + embedding.layout.scaleRowBytes,
  };
}

function alwaysRead({ layers, head }: ModelWeights): DeviceMatrix[] {
  return [
    head,
    ...layers.flatMap(({ attention: { queryDown, queryUp, kvDown, keyUp, valueUp, output }, feedForward }) => [
      ...(queryDown === null ? [] : [queryDown.matrix]),
      queryUp,
      kvDown,
      keyUp,
      valueUp,
      output,
      ...(isMoe(feedForward)
        ? [feedForward.router, ...(feedForward.shared === null ? [] : [feedForward.shared.gateUp, feedForward.shared.down])]
        : [feedForward.gateUp, feedForward.down]),
    ]),
  ];
}

function bytesOf({ layout, parts }: DeviceMatrix): number {
  return sum(parts.map(({ weights, scales }) => weights.bytes + (layout.scaleRowBytes === 0 ? 0 : scales.bytes)));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

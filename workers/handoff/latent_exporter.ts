/**
 * The prefill side of the handoff on its device: of whole latents, each decode rank is given only the columns it keeps, of the tokens that it keeps. Nothing is converted: both sides share basis
 * and precision. The device cuts the columns out, so what is read back is what is sent.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { ALL_TOKENS, keptTokens, type TokenShare } from "../../core/cache/token_share.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import { FRAME_FRONT } from "../../core/wire/codec.ts";
import type { BoundKernel, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import { exportedConfig, type KeptColumns } from "../../kernels/latent_export/kept_columns.ts";
import { latentExport } from "../../kernels/latent_export/latent_export.ts";
import type { CachedSequence, LatentCache } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";

/** Positions of one sequence. */
export interface Span {
  readonly sequence: CachedSequence;
  readonly start: number;
  readonly count: number;
}

/** Some layers of a span, cut out together; index keys are numbered as layers behind those of latents, and never in one cut with them. */
export interface Cut {
  readonly firstLayer: number;
  readonly layers: number;
  readonly span: Span;
  /** Where each rank's bytes lie, [layers, its tokens of the span, width], with room for a frame's header in front of them; valid until the next cut. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly parts: readonly CutPart[];
  /** How each rank's tokens lie. */
  readonly configs: readonly CacheConfig[];
}

/** What one rank is given of a cut. */
export interface CutPart {
  /** Where it begins in memory, and its length, in bytes. */
  readonly begin: number;
  readonly bytes: number;
  /** Tokens of the span, counted among those that the rank keeps, half-open. */
  readonly range: readonly [begin: number, end: number];
}

/** What a rank keeps of a buffer of the cache: its columns of its tokens' latents, and index keys of all tokens as they are. */
export function keptOf(
  { buffers, layers }: Pick<LatentCache, "buffers" | "layers">,
  buffer: number,
  { latents, tokens }: RankShape,
): KeptColumns & { readonly tokens: TokenShare } {
  const { config: cache } = buffers[buffer];
  if (buffer < layers.length) return { cache, columns: latents[buffer].keyColumns, tokens };
  return { cache, columns: [{ begin: 0, end: cache.keyWidth }], tokens: ALL_TOKENS };
}

/** Of each buffer, the first one of its kind: of which ranks are given the same columns. */
function kindsOf(cache: LatentCache, shapes: readonly RankShape[]): number[] {
  const firsts = new Map<string, number>();
  return cache.buffers.map((_, buffer) => {
    const isLatents = buffer < cache.layers.length;
    const kind = JSON.stringify([isLatents, shapes.map((shape) => keptOf(cache, buffer, shape))]);
    const first = firsts.get(kind) ?? buffer;
    firsts.set(kind, first);
    return first;
  });
}

/** Most bytes that some ranks are given of a token of one buffer: of those that share latents by tokens, one is. */
export function mostTokenBytes(cache: LatentCache, shapes: readonly RankShape[]): number {
  const bytesOf = (buffer: number) => {
    const each = shapes.map((shape) => {
      const kept = keptOf(cache, buffer, shape);
      const bytes = cacheTokenBytes(exportedConfig(kept));
      return [kept.tokens.of === 1 ? `rank ${shape.rank}` : `latent group ${shape.latentGroup}`, bytes] as const;
    });
    return new Map(each).values().reduce((sum, bytes) => sum + bytes, 0);
  };
  return Math.max(...new Set(kindsOf(cache, shapes)).values().map(bytesOf));
}

/** What is recorded. */
interface CutUnderWay extends Pick<Cut, "firstLayer" | "span" | "configs"> {
  /** Behind the last layer that is of the same kind. */
  readonly endOfKind: number;
  layers: number;
  /** See {@link CutPart.range}, of each rank. */
  readonly ranges: readonly CutPart["range"][];
  /** Where each rank's bytes begin. */
  readonly places: readonly number[];
}

/** Cuts out what some decode ranks keep of a model's cached latents, consecutive layers of a span at a time. */
export class LatentExporter {
  /** How each rank's tokens lie, by layer. */
  readonly #configs: readonly (readonly CacheConfig[])[];
  /** Most tokens, over all layers, that are cut out together. */
  readonly tokens: number;
  readonly #model: Model;
  readonly #staging: DeviceBuffer;
  readonly #readback: Readback;
  /** Which tokens each rank is given, by layer. */
  readonly #shares: readonly (readonly TokenShare[])[];
  /** [layer][rank] */
  readonly #kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[];
  #cut: CutUnderWay | null = null;

  private constructor(
    model: Model,
    parts: {
      readonly shares: readonly (readonly TokenShare[])[];
      readonly configs: readonly (readonly CacheConfig[])[];
      readonly tokens: number;
      readonly kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[];
      readonly staging: DeviceBuffer;
      readonly readback: Readback;
    },
  ) {
    this.#model = model;
    this.#shares = parts.shares;
    this.#configs = parts.configs;
    this.tokens = parts.tokens;
    this.#kernels = parts.kernels;
    this.#staging = parts.staging;
    this.#readback = parts.readback;
  }

  /** @param tokens most tokens, over all layers, that are cut out together */
  static async create(model: Model, shapes: readonly RankShape[], tokens: number): Promise<LatentExporter> {
    const { device, cache } = model;
    const { slots, tableWords } = cache;
    const kindOf = kindsOf(cache, shapes);
    const kinds = [...new Set(kindOf)];
    const exports = kinds.map((first) => shapes.map((shape) => ({ ...keptOf(cache, first, shape), slots, tableWords })));
    const configs = exports.map((ofRanks) => ofRanks.map(exportedConfig));
    const bytes = FRAME_FRONT * (shapes.length + 1) + tokens * mostTokenBytes(cache, shapes);
    // Kernels are checked for the longest span at the last place, though a span that long begins at the first.
    const longest = Math.min(tokens, cache.maxContext);
    const staging = device.createBuffer("handoff staging", bytes + longest * Math.max(...configs.flat().map(cacheTokenBytes)));
    const compiled = await Promise.all(exports.map((ofRanks) => Promise.all(ofRanks.map((config) => device.compile(latentExport, config)))));
    const places = kindOf.map((first) => kinds.indexOf(first));
    const most = { count: longest, start: cache.maxContext, table: cache.tableWords, offset: bytes / 4 };
    const kernels = cache.buffers.map(({ pages }, layer) =>
      compiled[places[layer]].map((kernel) => kernel.bind({ cache: pages, tables: cache.tables, out: staging }, most))
    );
    return new LatentExporter(model, {
      shares: places.map((place) => exports[place].map(({ tokens }) => tokens)),
      configs: places.map((place) => configs[place]),
      tokens,
      kernels,
      staging,
      readback: await device.createReadback("handoff", bytes),
    });
  }

  /** Whether a layer of a span can be cut out together with what is recorded already, if anything is. */
  takes(layer: number, { sequence, start, count }: Span): boolean {
    if (this.#cut === null) return count <= this.tokens;
    const { firstLayer, layers, span, endOfKind } = this.#cut;
    const follows = layer < endOfKind && layer === firstLayer + layers && sequence === span.sequence && start === span.start && count === span.count;
    return follows && (layers + 1) * count <= this.tokens;
  }

  /** Whether not even another layer of the same span fits. */
  get full(): boolean {
    return this.#cut !== null && (this.#cut.layers + 1) * this.#cut.span.count > this.tokens;
  }

  /** Records the cut of one layer, which it {@link takes}. */
  record(layer: number, span: Span): void {
    const { device } = this.#model;
    this.#cut ??= this.#begin(layer, span);
    const { layers, places, ranges, configs } = this.#cut;
    this.#kernels[layer].forEach((kernel, rank) => {
      const [start, end] = ranges[rank];
      const offset = (places[rank] + layers * (end - start) * cacheTokenBytes(configs[rank])) / 4;
      device.run(kernel, { count: end - start, start, table: span.sequence.table, offset });
    });
    this.#cut.layers++;
  }

  #begin(firstLayer: number, span: Span): CutUnderWay {
    const configs = this.#configs[firstLayer];
    const other = this.#configs.findIndex((kind, layer) => layer > firstLayer && kind !== configs);
    const endOfKind = other === -1 ? this.#configs.length : other;
    // Each rank's layers follow each other: as many as there may be.
    const mostLayers = Math.min(Math.floor(this.tokens / span.count), endOfKind - firstLayer);
    const ranges = this.#shares[firstLayer].map((share) => [keptTokens(share, span.start), keptTokens(share, span.start + span.count)] as const);
    const places = [FRAME_FRONT];
    configs.forEach((config, rank) => {
      const [start, end] = ranges[rank];
      places.push(places[rank] + mostLayers * (end - start) * cacheTokenBytes(config) + FRAME_FRONT);
    });
    return { firstLayer, layers: 0, span, ranges, places, configs, endOfKind };
  }

  /** Records the way back of what is recorded. @returns resolves after the submission */
  read(): () => Promise<Cut> {
    const cut = this.#cut;
    invariant(cut !== null, "nothing was cut out");
    this.#cut = null;
    const { firstLayer, layers, span, ranges, places, configs } = cut;
    const parts = configs.map((config, rank): CutPart => {
      const range = ranges[rank];
      return { begin: places[rank], bytes: layers * (range[1] - range[0]) * cacheTokenBytes(config), range };
    });
    const { begin, bytes } = parts.at(-1)!;
    this.#model.device.read(this.#readback, this.#staging, 0, begin + bytes);
    return async () => {
      const memory = await this.#readback.take();
      return { firstLayer, layers, span, memory, parts, configs };
    };
  }

  /** Forgets what is recorded; it is not read back. */
  discard(): void {
    this.#cut = null;
  }

  destroy(): void {
    this.#staging.destroy();
    this.#readback.destroy();
  }
}

/**
 * The prefill side of the handoff on its device: of whole latents, each decode rank is given only the columns it keeps. Nothing is converted: both sides share basis
 * and precision. The device cuts the columns out, so what is read back is what is sent.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import { FRAME_FRONT } from "../../core/wire/codec.ts";
import type { BoundKernel, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import { exportedConfig } from "../../kernels/latent_export/kept_columns.ts";
import { latentExport } from "../../kernels/latent_export/latent_export.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";

/** Positions of one sequence. */
export interface Span {
  readonly sequence: CachedSequence;
  readonly start: number;
  readonly count: number;
}

/** Some layers of a span, cut out together. */
export interface Cut {
  readonly firstLayer: number;
  readonly layers: number;
  readonly span: Span;
  /** Where each rank's bytes lie, [layers, count, width], with room for a frame's header in front of them; valid until the next cut. */
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly parts: readonly { readonly begin: number; readonly bytes: number }[];
}

/** Cuts out what some decode ranks keep of a model's cached latents, consecutive layers of a span at a time. */
export class LatentExporter {
  /** How each rank's tokens lie. */
  readonly configs: readonly CacheConfig[];
  /** Most tokens, over all layers, that are cut out together. */
  readonly tokens: number;
  readonly #model: Model;
  readonly #staging: DeviceBuffer;
  readonly #readback: Readback;
  /** [layer][rank] */
  readonly #kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[];
  #cut:
    | { readonly firstLayer: number; layers: number; readonly span: Span; /** Where each rank's bytes begin. */ readonly places: readonly number[] }
    | null = null;

  private constructor(
    model: Model,
    parts: {
      readonly configs: readonly CacheConfig[];
      readonly tokens: number;
      readonly kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[];
      readonly staging: DeviceBuffer;
      readonly readback: Readback;
    },
  ) {
    this.#model = model;
    this.configs = parts.configs;
    this.tokens = parts.tokens;
    this.#kernels = parts.kernels;
    this.#staging = parts.staging;
    this.#readback = parts.readback;
  }

  /** @param tokens most tokens, over all layers, that are cut out together */
  static async create(model: Model, shapes: readonly RankShape[], tokens: number): Promise<LatentExporter> {
    const { device, cache } = model;
    const exports = shapes.map(({ keyColumns }) => ({
      cache: cache.config,
      slots: cache.slots,
      tableWords: cache.tableWords,
      columns: keyColumns,
    }));
    const configs = exports.map(exportedConfig);
    const bytes = placesOf(configs, tokens).at(-1)!;
    // Kernels are checked for the longest span at the last place, though a span that long begins at the first.
    const longest = Math.min(tokens, cache.maxContext);
    const staging = device.createBuffer("handoff staging", bytes + longest * Math.max(...configs.map(cacheTokenBytes)));
    const compiled = await Promise.all(exports.map((config) => device.compile(latentExport, config)));
    const most = { count: longest, start: cache.maxContext, table: cache.tableWords, offset: bytes / 4 };
    const kernels = cache.layers.map((pages) => compiled.map((kernel) => kernel.bind({ cache: pages, tables: cache.tables, out: staging }, most)));
    return new LatentExporter(model, { configs, tokens, kernels, staging, readback: await device.createReadback("handoff", bytes) });
  }

  /** Whether a layer of a span can be cut out together with what is recorded already, if anything is. */
  takes(layer: number, { sequence, start, count }: Span): boolean {
    if (this.#cut === null) return count <= this.tokens;
    const { firstLayer, layers, span } = this.#cut;
    const follows = layer === firstLayer + layers && sequence === span.sequence && start === span.start && count === span.count;
    return follows && (layers + 1) * count <= this.tokens;
  }

  /** Whether not even another layer of the same span fits. */
  get full(): boolean {
    return this.#cut !== null && (this.#cut.layers + 1) * this.#cut.span.count > this.tokens;
  }

  /** Records the cut of one layer, which it {@link takes}. */
  record(layer: number, span: Span): void {
    const { device } = this.#model;
    // Each rank's layers follow each other: as many as there may be.
    const mostLayers = Math.min(Math.floor(this.tokens / span.count), this.#kernels.length - layer);
    this.#cut ??= { firstLayer: layer, layers: 0, span, places: placesOf(this.configs, mostLayers * span.count) };
    const { layers, places } = this.#cut;
    this.#kernels[layer].forEach((kernel, rank) => {
      const offset = (places[rank] + layers * span.count * cacheTokenBytes(this.configs[rank])) / 4;
      device.run(kernel, { count: span.count, start: span.start, table: span.sequence.table, offset });
    });
    this.#cut.layers++;
  }

  /** Records the way back of what is recorded. @returns resolves after the submission */
  read(): () => Promise<Cut> {
    const cut = this.#cut;
    invariant(cut !== null, "nothing was cut out");
    this.#cut = null;
    const { firstLayer, layers, span, places } = cut;
    const bytesOf = (rank: number) => layers * span.count * cacheTokenBytes(this.configs[rank]);
    const end = places[this.configs.length - 1] + bytesOf(this.configs.length - 1);
    this.#model.device.read(this.#readback, this.#staging, 0, end);
    return async () => {
      const memory = await this.#readback.take();
      return { firstLayer, layers, span, memory, parts: this.configs.map((_, rank) => ({ begin: places[rank], bytes: bytesOf(rank) })) };
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

/** Where each rank's bytes of `count` tokens begin, and where one more rank's would. */
function placesOf(configs: readonly CacheConfig[], count: number): number[] {
  const places = [FRAME_FRONT];
  for (const config of configs) places.push(places.at(-1)! + count * cacheTokenBytes(config) + FRAME_FRONT);
  return places;
}

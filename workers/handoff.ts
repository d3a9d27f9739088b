/**
 * Handing a prompt over: a worker with whole latents gives each decode rank only the columns it keeps. Nothing is converted: both sides share basis and precision.
 * The device cuts the columns out, so what is read back is what is sent.
 *
 * @module
 */
import { invariant } from "../core/errors.ts";
import type { RankShape } from "../core/tpla/partition.ts";
import type { BoundKernel, DeviceBuffer, Readback } from "../kernels/device.ts";
import { BLOCK_TOKENS, type CacheConfig, cacheTokenBytes } from "../kernels/latent_cache/layout.ts";
import { exportedConfig, latentExport } from "../kernels/latent_export/latent_export.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Model } from "./model.ts";

/** Positions of one sequence. */
export interface Span {
  readonly sequence: CachedSequence;
  readonly start: number;
  readonly count: number;
}

/** Cuts out what some decode ranks keep of a model's cached latents. */
export class LatentExporter {
  /** How each rank's tokens lie. */
  readonly configs: readonly CacheConfig[];
  readonly #model: Model;
  readonly #staging: DeviceBuffer;
  readonly #readback: Readback;
  /** [layer][rank] */
  readonly #kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[];

  private constructor(
    model: Model,
    configs: readonly CacheConfig[],
    kernels: readonly (readonly BoundKernel<"count" | "start" | "table" | "offset">[])[],
    memory: { readonly staging: DeviceBuffer; readonly readback: Readback },
  ) {
    this.#model = model;
    this.configs = configs;
    this.#kernels = kernels;
    this.#staging = memory.staging;
    this.#readback = memory.readback;
  }

  /** @param tokens most positions of one {@link record} */
  static async create(model: Model, shapes: readonly RankShape[], tokens: number): Promise<LatentExporter> {
    const { device, cache } = model;
    const exports = shapes.map(({ keyColumns }) => ({
      cache: cache.config,
      slots: cache.slots,
      tableWords: cache.tableWords,
      columns: keyColumns,
    }));
    const configs = exports.map(exportedConfig);
    const offsets = offsetsOf(configs, tokens);
    const bytes = offsets.at(-1)!;
    const staging = device.createBuffer("handoff staging", bytes);
    const compiled = await Promise.all(exports.map((config) => device.compile(latentExport, config)));
    const kernels = cache.layers.map((pages) =>
      compiled.map((kernel, rank) =>
        kernel.bind({ cache: pages, tables: cache.tables, out: staging }, {
          count: tokens,
          start: cache.maxContext,
          table: cache.tableWords,
          offset: offsets[rank] / 4,
        })
      )
    );
    return new LatentExporter(model, configs, kernels, { staging, readback: await device.createReadback("handoff", bytes) });
  }

  /** Records the cut of one layer and its way back. */
  record(layer: number, { sequence, start, count }: Span): void {
    const { device } = this.#model;
    const offsets = offsetsOf(this.configs, count);
    this.#kernels[layer].forEach((kernel, rank) => device.run(kernel, { count, start, table: sequence.table, offset: offsets[rank] / 4 }));
    device.read(this.#readback, this.#staging, 0, offsets.at(-1)!);
  }

  /** After the submission: each rank's bytes of `count` tokens, valid until the next {@link record}. */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>[]> {
    const bytes = await this.#readback.take();
    const offsets = offsetsOf(this.configs, count);
    return this.configs.map((_, rank) => bytes.subarray(offsets[rank], offsets[rank + 1]));
  }

  destroy(): void {
    this.#staging.destroy();
    this.#readback.destroy();
  }
}

/** Where each rank's bytes of `count` tokens begin, and where the last one's end. */
function offsetsOf(configs: readonly CacheConfig[], count: number): number[] {
  const offsets = [0];
  for (const config of configs) offsets.push(offsets.at(-1)! + count * cacheTokenBytes(config));
  return offsets;
}

/** Writes tokens that were cut out for this cache; blocks must be held. */
export function importLatents(model: Model, layer: number, { sequence, start, count }: Span, bytes: Uint8Array<ArrayBuffer>): void {
  const { device, cache } = model;
  const tokenBytes = cacheTokenBytes(cache.config);
  for (let done = 0; done < count;) {
    const position = start + done;
    // Within a block, slots follow each other.
    const run = Math.min(BLOCK_TOKENS - (position % BLOCK_TOKENS), count - done);
    device.write(cache.layers[layer], sequence.slotOf(position) * tokenBytes, bytes.subarray(done * tokenBytes, (done + run) * tokenBytes));
    done += run;
  }
}

/** A sequence in one model's cache. */
export interface CachedPrompt {
  readonly model: Model;
  readonly sequence: CachedSequence;
}

/**
 * Copies the first `tokens` cached tokens of every layer to a rank of this process, whose sequence must be empty.
 *
 * @returns bytes of latents and rotated keys handed over: tokens · layers · (|K_i| + d_r) · bytes per value
 */
export async function handOver(from: CachedPrompt, to: CachedPrompt, shape: RankShape, tokens: number): Promise<number> {
  const [source, target] = [from.model.cache, to.model.cache];
  invariant(source.config.dtype === target.config.dtype, "both sides cache latents in the same precision");
  invariant(to.sequence.length === 0, "a prompt is handed over to an empty sequence");
  target.grow(to.sequence, tokens);
  const exporter = await LatentExporter.create(from.model, [shape], tokens);
  for (let layer = 0; layer < source.layers.length; layer++) {
    exporter.record(layer, { sequence: from.sequence, start: 0, count: tokens });
    from.model.device.submit();
    const [bytes] = await exporter.take(tokens);
    importLatents(to.model, layer, { sequence: to.sequence, start: 0, count: tokens }, bytes);
  }
  exporter.destroy();
  to.sequence.length = tokens;
  return tokens * source.layers.length * cacheTokenBytes(target.config);
}

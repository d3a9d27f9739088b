/**
 * Handing a prompt over: a worker with whole latents gives each decode rank only the columns it keeps. Nothing is converted: both sides share basis and precision.
 *
 * @module
 */
import { invariant } from "../core/errors.ts";
import { columnIndices, type RankShape } from "../core/tpla/partition.ts";
import { BLOCK_TOKENS, type CacheConfig, cacheTokenBytes, cacheWidth, ropeOffset } from "../kernels/latent_cache/layout.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Model } from "./model.ts";

/** A sequence in one model's cache. */
export interface CachedPrompt {
  readonly model: Model;
  readonly sequence: CachedSequence;
}

/**
 * Copies the first `tokens` cached tokens of every layer to a rank, whose sequence must be empty.
 *
 * @returns bytes of latents and rotated keys handed over: tokens · layers · (|K_i| + d_r) · bytes per value
 */
export async function handOver(from: CachedPrompt, to: CachedPrompt, shape: RankShape, tokens: number): Promise<number> {
  const [source, target] = [from.model.cache, to.model.cache];
  invariant(source.config.dtype === target.config.dtype, "both sides cache latents in the same precision");
  invariant(to.sequence.length === 0, "a prompt is handed over to an empty sequence");
  target.grow(to.sequence, tokens);
  const blockBytes = BLOCK_TOKENS * cacheTokenBytes(source.config);
  const blocks = Math.ceil(tokens / BLOCK_TOKENS);
  const readback = await from.model.device.createReadback("handoff", blocks * blockBytes);
  const columns = keptColumns(source.config, target.config, shape);
  for (const [layer, pages] of source.layers.entries()) {
    for (let block = 0; block < blocks; block++) {
      from.model.device.read(readback, pages, from.sequence.blocks[block] * blockBytes, blockBytes);
      from.model.device.submit();
      const kept = selectColumns(await readback.take(), source.config, target.config, columns);
      to.model.device.write(target.layers[layer], to.sequence.blocks[block] * BLOCK_TOKENS * cacheTokenBytes(target.config), kept);
    }
  }
  readback.destroy();
  to.sequence.length = tokens;
  return tokens * source.layers.length * (shape.keyWidth + source.config.ropeWidth) * (source.config.dtype === "f16" ? 2 : 4);
}

/** For each value of a rank's token, its index in the whole token; −1 for padding. */
function keptColumns(source: CacheConfig, target: CacheConfig, shape: RankShape): Int32Array {
  const kept = new Int32Array(cacheWidth(target)).fill(-1);
  kept.set(columnIndices(shape.keyColumns));
  for (let i = 0; i < source.ropeWidth; i++) kept[ropeOffset(target) + i] = ropeOffset(source) + i;
  return kept;
}

function selectColumns(bytes: Uint8Array<ArrayBuffer>, source: CacheConfig, target: CacheConfig, columns: Int32Array) {
  const View = source.dtype === "f16" ? Uint16Array : Uint32Array;
  const from = new View(bytes.buffer, bytes.byteOffset, bytes.byteLength / View.BYTES_PER_ELEMENT);
  const [width, kept] = [cacheWidth(source), cacheWidth(target)];
  const to = new View(BLOCK_TOKENS * kept);
  for (let token = 0; token < BLOCK_TOKENS; token++) {
    for (let c = 0; c < kept; c++) if (columns[c] >= 0) to[token * kept + c] = from[token * width + columns[c]];
  }
  return to;
}

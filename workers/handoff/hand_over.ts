/**
 * A handoff within one process.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";
import { LatentExporter } from "./latent_exporter.ts";
import { importLatents } from "./latent_importer.ts";

/** A sequence in one model's cache. */
export interface CachedPrompt {
  readonly model: Model;
  readonly sequence: CachedSequence;
}

/**
 * Copies the first `tokens` cached tokens of every layer, and their index keys, to a rank of this process, whose sequence must be empty.
 *
 * @returns bytes handed over: of every token that it keeps, what it caches
 */
export async function handOver(from: CachedPrompt, to: CachedPrompt, shape: RankShape, tokens: number): Promise<number> {
  const [source, target] = [from.model.cache, to.model.cache];
  invariant(source.dtype === target.dtype, "both sides cache latents in the same precision");
  invariant(to.sequence.length === 0, "a prompt is handed over to an empty sequence");
  target.grow(to.sequence, tokens);
  const exporter = await LatentExporter.create(from.model, [shape], tokens);
  let handed = 0;
  for (let layer = 0; layer < source.buffers.length; layer++) {
    exporter.record(layer, { sequence: from.sequence, start: 0, count: tokens });
    const take = exporter.read();
    from.model.device.submit();
    const { memory, parts: [{ begin, bytes, range: [start, end] }] } = await take();
    importLatents(to.model, layer, { sequence: to.sequence, start, count: end - start }, memory.subarray(begin, begin + bytes));
    handed += bytes;
  }
  exporter.destroy();
  to.sequence.length = tokens;
  return handed;
}

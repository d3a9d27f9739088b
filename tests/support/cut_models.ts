/**
 * Models on one rank or on several, and what they say.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Random } from "../../bench/support/random.ts";
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { chooseBasis } from "../../core/tpla/basis.ts";
import { ALONE } from "../../core/tpla/group_place.ts";
import { partition, type PartitionOptions } from "../../core/tpla/partition.ts";
import type { Device } from "../../kernels/device/device.ts";
import { Model } from "../../workers/forward/model.ts";
import { loadWeights } from "../../workers/load/loader.ts";
import { LocalGroup } from "../../workers/local/local_group.ts";
import { TEST_LIMITS } from "./fixtures.ts";

/** How a model is cut. */
export const CUTS = {
  "mla over two ranks": { ranks: 2, latentGroups: 1, halo: 0 },
  "tpla over two ranks": { ranks: 2, latentGroups: 2, halo: 16 },
} as const satisfies Record<string, PartitionOptions>;

const [PROMPT, GENERATED] = [12, 6];

/** Random tokens. */
export function promptOf({ vocabSize }: ModelSpec): number[] {
  const random = new Random();
  return Array.from({ length: PROMPT }, () => 3 + random.below(vocabSize - 3));
}

/** Loads a model. @param cut null: whole, on one rank */
export async function loadRanks(device: Device, files: ModelFiles, cut: PartitionOptions | null): Promise<{ ranks: Model[]; bytes: number }> {
  const spec = parseModelConfig((await files.text("config.json"))!, "config.json");
  const bases = cut === null || cut.latentGroups === 1
    ? null
    : Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null));
  const ranks: Model[] = [];
  let bytes = 0;
  for (const shape of cut === null ? [undefined] : partition(spec, cut)) {
    const shard = shape && { shape, bases };
    let told = { loadedBytes: 0, totalBytes: 0 };
    const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard, onProgress: (now) => told = now });
    assertEquals(told.loadedBytes, told.totalBytes);
    assert(Number.isSafeInteger(told.totalBytes), `${told.totalBytes} bytes`);
    bytes += weights.bytes;
    ranks.push(
      await Model.create(device, weights, {
        group: { ...ALONE, rank: shape?.rank ?? 0, ranks: cut?.ranks ?? 1, wholeFeedForward: false },
        cacheDtype: "f32",
        maxTokens: 128,
        maxContext: 128,
        maxSequences: 2,
        limits: TEST_LIMITS,
      }),
    );
  }
  return { ranks, bytes };
}

/** Logits of a prompt in steps of four rows, and of greedy tokens after it, which are the last of what is returned. */
export async function generate(ranks: readonly Model[], prompt: readonly number[]): Promise<{ logits: number[]; tokens: number[] }> {
  const group = await LocalGroup.create(ranks);
  const sequence = group.open();
  const logits: number[] = [];
  const tokens = [...prompt];
  for (let position = 0; position < PROMPT + GENERATED;) {
    const rows = tokens.slice(position, position + 4).map((token, i) => ({ token, position: position + i, sequence }));
    const step = await group.step(rows);
    logits.push(...step);
    position += rows.length;
    if (position < tokens.length) continue;
    const last = step.subarray(step.length / rows.length * (rows.length - 1));
    tokens.push(last.indexOf(last.reduce((most, value) => Math.max(most, value))));
  }
  group.close(sequence);
  return { logits, tokens };
}

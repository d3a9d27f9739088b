/**
 * Ranks that compute prompts among themselves and generate from slices of their latents: on every device, what they keep and what they answer is, to the bit, what ranks
 * have that are handed the latents of a prefill unit of as many ranks.
 */
import { it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import type { CacheDtype } from "../../../core/cache/cache_dtype.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { basesFor } from "../../../core/tpla/choose_bases.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, promptShapes, type RankShape } from "../../../core/tpla/partition.ts";
import type { TokenRow } from "../../../core/wire/queries.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { LocalExchange } from "../../../workers/collective/local_exchange.ts";
import { createMixedModels, type MixedModels } from "../../../workers/forward/mixed_models.ts";
import type { Model } from "../../../workers/forward/model.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { planWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { DecodeRank } from "../../../workers/roles/decode.ts";
import { MixedRank } from "../../../workers/roles/mixed.ts";
import type { PromptChunk } from "../../../workers/roles/prompt_chunk.ts";
import { RankForward } from "../../../workers/roles/rank.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { type Fixture, fixtureDirectory } from "../../support/checkpoints.ts";

const RANKS = 2;
/** Models, and layers of them: one has index keys beside latents. */
const MODELS = [["deepseek-v2-lite-tiny", 3], ["deepseek-v32-tiny", 2]] as const;
const LENGTH = 100;
const QUERY = { key: 1, position: 0, inverseTemperature: 1, plain: 4, adjusted: 0, base: 0, changes: [], mask: null, draw: false };
const PROMPT = Array.from({ length: LENGTH }, (_, i) => 3 + i * 11 % 90);

/** One rank's models, and what it keeps. */
interface LoadedRank {
  readonly models: MixedModels;
  readonly shape: RankShape;
}

async function loadRanks(device: Device, name: Fixture, cacheDtype: CacheDtype): Promise<LoadedRank[]> {
  using files = new DirectoryFiles(fixtureDirectory(name));
  const spec = parseModelConfig((await files.text("config.json"))!, name);
  const checkpoint = await Checkpoint.open(files);
  const bases = await basesFor(spec, { kind: "hadamard", lambda: 0 }, null);
  const cut = { ranks: RANKS, latentGroups: RANKS, halo: 8 };
  const ranks: LoadedRank[] = [];
  for (const shape of partition(spec, cut)) {
    const beside = { shape: promptShapes(spec, cut)[shape.rank], bases };
    const planned = planWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases }, beside });
    await planned.load();
    const models = await createMixedModels(device, planned.weights, {
      group: { ...ALONE, rank: shape.rank, ranks: RANKS },
      cacheDtype,
      maxTokens: 320,
      maxContext: 128,
      maxSequences: 3,
      limits: { prefillRows: 40, decodeRows: 4, window: 32, logitRows: 4 },
    }, { weights: planned.beside!, cache: { maxTokens: 256, maxSequences: 2 } });
    ranks.push({ models, shape });
  }
  return ranks;
}

/** What a rank keeps of the prompt, layer by layer. */
async function pagesOf({ device, cache }: Model): Promise<Uint8Array[]> {
  const layers: Uint8Array[] = [];
  for (const { pages } of cache.buffers) {
    const readback = await device.createReadback("pages", pages.bytes);
    device.read(readback, pages, 0, pages.bytes);
    device.submit();
    layers.push((await readback.take()).slice());
    readback.destroy();
  }
  return layers;
}

/** Layers of a chunk of a prompt that begins in region blocks `blocks`, and is kept in `kept`. */
function chunkOf(
  sequence: number,
  [start, end]: readonly [number, number],
  { of, ...layers }: PromptChunk["layers"] & { readonly of: number },
  begin: PromptChunk["begin"],
): PromptChunk {
  const last = end === LENGTH;
  const tokens = layers.first === 0 ? PROMPT.slice(start, end) : [];
  const queries = last && layers.end === of ? [{ ...QUERY, position: LENGTH }] : [];
  return { sequence, start, layers, awaited: false, last, promptLogprobs: null, following: null, tokens, queries, begin };
}

const stepRows = (sequence: number, i: number): TokenRow[] => [{ sequence, token: 7 + i, position: LENGTH + i }];

/** What ranks that are handed a prefill unit's latents keep and answer. */
async function handedOver(ranks: readonly LoadedRank[], blocks: readonly number[]) {
  const exchange = new LocalExchange(RANKS);
  const sequences = await Promise.all(ranks.map(async ({ models: { prefill } }, i) => {
    const forward = await RankForward.create(prefill, exchange.rank(i));
    const sequence = prefill.cache.open();
    prefill.cache.grow(sequence, LENGTH);
    for (let start = 0; start < LENGTH; start += 40) {
      const rows = PROMPT.slice(start, start + 40).map((token, r) => ({ token, position: start + r, sequence }));
      await forward.run({ phase: "prefill", rows });
      prefill.device.submit();
      sequence.length += rows.length;
    }
    await forward.destroy();
    return sequence;
  }));
  const decodes: DecodeRank[] = [];
  const pages: Uint8Array[][] = [];
  for (const [i, { models: { prefill, decode }, shape }] of ranks.entries()) {
    const kept = decode.cache.open();
    // So that pages are compared as they are, it gets the same blocks.
    decode.cache.hold(kept, blocks);
    await handOver({ model: prefill, sequence: sequences[i] }, { model: decode, sequence: kept }, shape, LENGTH);
    pages.push(await pagesOf(decode));
    prefill.cache.close(sequences[i]);
    const rank = await DecodeRank.create([decode]);
    await rank.reset([exchange.rank(i)]);
    rank.adopt(1, kept);
    decodes.push(rank);
  }
  const answers: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    answers.push(
      ...await Promise.all(decodes.map((rank) => rank.step(stepRows(1, i), [{ ...QUERY, position: LENGTH + i + 1 }], { forks: [], grow: [] }))),
    );
  }
  for (const rank of decodes) rank.close(1);
  return { pages, answers };
}

describeModelsOnDevices("ranks that keep slices of what they compute", (kind) => {
  it("hold and answer what ranks do that are handed a prefill unit's latents, however chunks, prefixes and layers are cut", async () => {
    const device = await openTestDevice(kind);
    try {
      const dtypes = kind === "deno" ? ["q8"] as const : ["f32", "f16", "q8"] as const;
      for (const [[name, layers], dtype] of MODELS.flatMap((model) => dtypes.map((dtype) => [model, dtype] as const))) {
        const ranks = await loadRanks(device, name, dtype);
        const kept = [3, 1];
        const expected = await handedOver(ranks, kept);
        // What is left of it must not be taken for what is copied.
        for (const { models: { decode } } of ranks) {
          for (const { pages } of decode.cache.buffers) device.write(pages, 0, new Uint8Array(pages.bytes).fill(0x3c));
        }
        const clean = await Promise.all(ranks.map(({ models }) => pagesOf(models.decode)));
        const exchange = new LocalExchange(RANKS);
        const mixed = await Promise.all(ranks.map(async ({ models, shape }, i) => {
          const rank = await MixedRank.create(models, shape);
          await rank.reset([exchange.rank(i)]);
          return rank;
        }));
        const all = <T>(run: (rank: MixedRank) => Promise<T>) => Promise.all(mixed.map(run));
        const steps = async (sequence: number) => {
          const answers: unknown[] = [];
          for (let i = 0; i < 3; i++) {
            answers.push(...await all((rank) => rank.step(stepRows(sequence, i), [{ ...QUERY, position: LENGTH + i + 1 }], { forks: [], grow: [] })));
          }
          return answers;
        };
        const whole = { first: 0, end: layers, of: layers };
        const beginsWith = (blocks: number[], from: number, to: number[]) => ({
          length: LENGTH,
          blocks,
          target: null,
          stays: false,
          slices: { tokens: LENGTH, from, blocks: to },
        });
        // In two chunks of uneven length, the second layer by layer.
        await all((rank) => rank.run(chunkOf(1, [0, 33], whole, beginsWith([2, 0], 0, kept))));
        for (let layer = 0; layer < layers; layer++) {
          await all((rank) => rank.run(chunkOf(1, [33, 66], { first: layer, end: layer + 1, of: layers }, null)));
        }
        await all((rank) => rank.run(chunkOf(1, [66, LENGTH], whole, null)));
        const pages = await Promise.all(ranks.map(({ models }) => pagesOf(models.decode)));
        for (const [i, { models: { decode: { cache } } }] of ranks.entries()) {
          const slots = PROMPT.map((_, position) => kept[Math.floor(position / 64)] * 64 + position % 64);
          for (let layer = 0; layer < cache.buffers.length; layer++) {
            const slotBytes = cache.buffers[layer].pages.bytes / cache.slots;
            const held = clean[i][layer].slice();
            for (const slot of slots) held.set(expected.pages[i][layer].subarray(slot * slotBytes, (slot + 1) * slotBytes), slot * slotBytes);
            assertEquals(pages[i][layer], held, `${name}, rank ${i}, buffer ${layer}, ${dtype}`);
          }
        }
        assertEquals(await steps(1), expected.answers);
        for (const rank of mixed) rank.close(1);
        // A prefix that is whole there and not kept here is copied; one that is kept here is not copied again.
        for (const [sequence, from] of [[2, 0], [3, 64]] as const) {
          await all((rank) => rank.run(chunkOf(sequence, [64, LENGTH], whole, beginsWith([2, 3], from, from === 0 ? [4, 2] : [4, 0]))));
          assertEquals(await steps(sequence), expected.answers, `from ${from}`);
          for (const rank of mixed) rank.close(sequence);
        }
        for (const { models } of ranks) {
          for (const { cache } of [models.prefill, models.decode]) {
            cache.checkIntegrity();
            assertEquals([cache.sequences, cache.allocator.free], [0, cache.allocator.blocks]);
          }
        }
      }
    } finally {
      await device.close();
    }
  });

  it("refuse prompts that would be generated from where they are, and steps of prompts that are not computed", async () => {
    const device = await openTestDevice(kind);
    try {
      const [{ models, shape }] = await loadRanks(device, "deepseek-v2-lite-tiny", "f32");
      const rank = await MixedRank.create(models, shape);
      await rank.reset([new LocalExchange(RANKS).rank(0)]);
      const begin = { length: LENGTH, blocks: [0, 1], target: null, stays: true, slices: null };
      const chunk = chunkOf(1, [0, 33], { first: 0, end: 3, of: 3 }, begin);
      await assertRejects(() => rank.run(chunk), LatentmeshError, "does not generate from where it computes prompts");
      const slices = { tokens: LENGTH, from: 0, blocks: [0] };
      const short = { ...chunk, begin: { ...begin, stays: false, slices } };
      await assertRejects(() => rank.run(short), LatentmeshError, "1 blocks do not hold 100 tokens");
      assertEquals([models.prefill.cache.sequences, models.decode.cache.sequences], [0, 0], "nothing is held of what was refused");
      rank.close(1);
    } finally {
      await device.close();
    }
  });
});

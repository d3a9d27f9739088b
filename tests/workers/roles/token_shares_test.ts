/**
 * Decode ranks that share latents by tokens: they are handed the tokens that they keep, to the byte, and sequences that are forked, drafted and taken back, or computed by
 * the ranks themselves go on as those that were handed over.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { CacheDtype } from "../../../core/cache/cache_dtype.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, promptShapes, type RankShape } from "../../../core/tpla/partition.ts";
import { handoffBytesPerToken } from "../../../core/tpla/plan.ts";
import { parseMessage, type PeerFrameOf, peerFrameSchema } from "../../../core/wire/messages.ts";
import type { QueryFrame, TokenRow } from "../../../core/wire/queries.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { cacheTokenBytes } from "../../../kernels/latent_cache/layout.ts";
import { LocalExchange } from "../../../workers/collective/local_exchange.ts";
import { createMixedModels } from "../../../workers/forward/mixed_models.ts";
import { Model } from "../../../workers/forward/model.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { Handoff, type HandoffSizes, HandoffStage } from "../../../workers/handoff/handoff_sender.ts";
import { loadWeights, planWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { DecodeRank, type StepChanges } from "../../../workers/roles/decode.ts";
import { MixedRank } from "../../../workers/roles/mixed.ts";
import { RankForward } from "../../../workers/roles/rank.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { fill, tokensOf } from "../../support/cached_tokens.ts";
import { openTestDevice } from "../../support/devices.ts";
import { type Fixture, fixtureDirectory } from "../../support/checkpoints.ts";
import { linked } from "../../support/links.ts";

/** One that attends to all tokens, and one that caches index keys, all of them on every rank. */
const NAMES = ["deepseek-v3-tiny", "deepseek-v32-tiny"] as const;
const EPOCH = 3;
const CONTEXT = 256;
const QUERY: QueryFrame = { key: 1, position: 0, inverseTemperature: 1, plain: 4, adjusted: 0, base: 0, changes: [], mask: null, draw: false };
const SIZES = { maxContext: CONTEXT, maxSequences: 4, limits: { prefillRows: 64, decodeRows: 8, window: 64, logitRows: 8 } };

async function openModel(name: Fixture) {
  using files = new DirectoryFiles(fixtureDirectory(name));
  const spec = parseModelConfig((await files.text("config.json"))!, name);
  return { spec, checkpoint: await Checkpoint.open(files) };
}

function cutOf(ranks: number) {
  return { ranks, latentGroups: 1, halo: 0, tokenShares: ranks };
}

async function loadWhole(device: Device, name: Fixture, cacheDtype: CacheDtype): Promise<Model> {
  const { spec, checkpoint } = await openModel(name);
  return await Model.create(device, await loadWeights(device, checkpoint, spec, { weights: "keep" }), { ...SIZES, cacheDtype, maxTokens: 512 });
}

async function loadRanks(
  device: Device,
  name: Fixture,
  ranks: number,
  cacheDtype: CacheDtype,
): Promise<{ readonly model: Model; readonly shape: RankShape }[]> {
  const { spec, checkpoint } = await openModel(name);
  return await Promise.all(
    partition(spec, cutOf(ranks)).map(async (shape) => {
      const weights = await loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases: null } });
      const group = { ...ALONE, rank: shape.rank, ranks };
      return { shape, model: await Model.create(device, weights, { ...SIZES, group, cacheDtype, maxTokens: 1024 }) };
    }),
  );
}

/** Steps of all ranks together. */
function stepsOf(ranks: readonly DecodeRank[]) {
  return async (rows: readonly TokenRow[], asked = rows.length, changes: Partial<StepChanges> = {}) => {
    // A query behind a draft goes on from the one before.
    const queries = rows.slice(rows.length - asked).map(({ position, sequence }, i, all) => ({
      ...QUERY,
      position: position + 1,
      base: all[i - 1]?.sequence === sequence ? null : 0,
    }));
    return await Promise.all(ranks.map((rank) => rank.step(rows, queries, { forks: [], grow: [], ...changes })));
  };
}

describe("decode ranks that share latents by tokens", () => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice("wasm")));
  afterAll(() => device.close());

  it("are handed the tokens that they keep, in any sizes and from any whole block on", async () => {
    for (const [name, ranks, dtype] of [[NAMES[0], 2, "f32"], [NAMES[0], 3, "q8"], [NAMES[1], 2, "q8"], [NAMES[1], 3, "f32"]] as const) {
      const prefill = await loadWhole(device, name, dtype);
      const loaded = await loadRanks(device, name, ranks, dtype);
      const shapes = loaded.map(({ shape }) => shape);
      const decode = await Promise.all(loaded.map(({ model }) => DecodeRank.create([model])));
      const random = new Random();
      const tokenBytes = cacheTokenBytes(prefill.cache.buffers[0].config);
      // Behind the one scale of a token in eight bits there is nothing.
      const byte = (at: number) => dtype === "q8" && at % tokenBytes >= tokenBytes - 12 ? 0 : random.below(120);
      for (const { pages } of prefill.cache.buffers) device.write(pages, 0, Uint8Array.from({ length: pages.bytes }, (_, at) => byte(at)));
      const prompt = prefill.cache.open();
      prefill.cache.grow(prompt, CONTEXT);
      prompt.length = CONTEXT;
      const all = 64 * ranks;
      const property = fc.asyncProperty(
        fc.record({
          cutBytes: fc.constantFrom(3000, 20_000, 4 << 20),
          cuts: fc.integer({ min: 1, max: 4 }),
          windowBytes: fc.constantFrom(8000, 64 << 20),
        }),
        fc.integer({ min: 1, max: CONTEXT }),
        fc.integer({ min: 5, max: 64 }),
        fc.boolean(),
        async (sizes: HandoffSizes, tokens, piece, cachedThere) => {
          const from = cachedThere && tokens > all ? all : 0;
          const stage = await HandoffStage.create(prefill, shapes, sizes);
          const links = loaded.map((_, rank) => linked(0, [`decode-0.${rank}`, "prefill-0.0"]));
          const blocks = Array.from({ length: Math.ceil(tokens / all) }, (_, i) => 3 - i);
          for (const rank of decode) rank.open({ sequence: 1, tokens, from, blocks });
          const targets = links.map(([link], rank) => ({ worker: `decode-0.${rank}`, link, shape: loaded[rank].shape, window: null }));
          const handoff = new Handoff(stage, targets, { group: "decode-0", epoch: EPOCH, sequence: 1, silentMs: 5000 });
          links.forEach(([near, far], rank) => {
            far.listen(({ message, payload }) => {
              decode[rank].receive(parseMessage(peerFrameSchema, message) as PeerFrameOf<"latents">, payload, far, EPOCH);
            });
            near.listen(({ message }) =>
              handoff.receive(`decode-0.${rank}`, parseMessage(peerFrameSchema, message) as PeerFrameOf<"ack" | "rejected">)
            );
          });
          for (let start = from; start < tokens; start += piece) {
            const span = { sequence: prompt, start, count: Math.min(piece, tokens - start) };
            for (let layer = 0; layer < prefill.cache.buffers.length; layer++) await handoff.layer(layer, span);
          }
          await handoff.finish();
          assertEquals(stage.counters.bytes, (tokens - from) * handoffBytesPerToken(prefill.spec, shapes, dtype));
          const positions = Array.from({ length: tokens - from }, (_, i) => from + i);
          for (const [rank, { model }] of loaded.entries()) {
            const sequence = model.cache.open();
            model.cache.hold(sequence, blocks, blocks.length);
            assertEquals(await tokensOf(model, sequence, positions), await tokensOf(prefill, prompt, positions, model), `rank ${rank} of ${name}`);
            model.cache.close(sequence);
            decode[rank].close(1);
            fill(model, 0);
          }
          for (const [near, far] of links) {
            near.close();
            await far.closed;
          }
        },
      );
      await fc.assert(property, { seed: SEED, numRuns: 12, endOnFailure: true });
      assertThrows(
        () => decode[0].open({ sequence: 1, tokens: 200, from: 64, blocks: [0, 1] }),
        LatentmeshError,
        "A shared prefix of 64 tokens is not whole blocks",
      );
    }
  });

  for (const name of NAMES) {
    it(`fork ${name} in the middle of anybody's block, and go on as whoever computed all of it`, async () => {
      const ranks = 2;
      const whole = await loadWhole(device, name, "f32");
      const tokens = Array.from({ length: 200 }, (_, i) => 5 + i * 13 % 250);
      for (const length of [30, 64, 100, 128, 150]) {
        const loaded = await loadRanks(device, name, ranks, "f32");
        const exchange = new LocalExchange(ranks);
        const decode = await Promise.all(loaded.map(async ({ model }, i) => {
          const rank = await DecodeRank.create([model]);
          await rank.reset([exchange.rank(i)]);
          return rank;
        }));
        const step = stepsOf(decode);
        const prompt = whole.cache.open(CONTEXT);
        whole.cache.grow(prompt, length);
        for (let start = 0; start < length; start += 64) {
          whole.record({
            phase: "prefill",
            rows: tokens.slice(start, Math.min(start + 64, length)).map((token, i) => ({ token, position: start + i, sequence: prompt })),
          });
          device.submit();
        }
        prompt.length = length;
        for (const id of [1, 2]) {
          for (const [i, { model, shape }] of loaded.entries()) {
            const sequence = model.cache.open();
            await handOver({ model: whole, sequence: prompt }, { model, sequence }, shape, length);
            decode[i].adopt(id, sequence);
          }
        }
        whole.cache.close(prompt);
        const row = (sequence: number, i: number, token = 7 + i): TokenRow => ({ sequence, token, position: length + i });
        const free = () => Array.from({ length: 8 }, (_, block) => block).filter((block) => loaded[0].model.cache.allocator.references(block) === 0);
        const needed = Math.ceil((length + 1) / 128) - Math.floor(length / 128);
        const fork = { sequence: 3, from: 1, tokens: length, blocks: free().slice(0, needed) };
        // In one step with what it was forked from, which goes on otherwise.
        const grow = [1, 2].filter(() => length % 128 === 0).map((sequence, i) => ({ sequence, blocks: [free()[needed + i]] }));
        const [first] = await step([row(1, 0, 99), row(2, 0), row(3, 0)], 3, { forks: [fork], grow });
        assertEquals(first[2], first[1], `fork of ${length} tokens`);
        for (let i = 1; i < 4; i++) {
          const [answers] = await step([row(1, i, 50 + i), row(2, i), row(3, i)], 3);
          assertEquals(answers[2], answers[1], `fork of ${length} tokens, ${i} later`);
        }
        // Drafts, of which all but the first are wrong: what comes is written in their place.
        await step([row(3, 4), row(3, 5, 200), row(3, 6, 201)]);
        await step([row(2, 4)]);
        const [corrected] = await step([row(2, 5), row(3, 5)]);
        assertEquals(corrected[1], corrected[0], "after drafts");
        for (const id of [1, 2, 3]) for (const rank of decode) rank.close(id);
        for (const { model: { cache } } of loaded) {
          cache.checkIntegrity();
          assertEquals(cache.allocator.free, cache.allocator.blocks);
        }
      }
    });
  }

  for (const name of NAMES) {
    it(`keep what they compute of ${name}'s prompts themselves, whole latents beside, as if handed over`, async () => {
      const ranks = 2, length = 200;
      const { spec, checkpoint } = await openModel(name);
      const prompt = Array.from({ length }, (_, i) => 5 + i * 13 % 250);
      const positions = prompt.map((_, position) => position);
      for (const cacheDtype of ["f32", "q8"] as const) {
        const cut = cutOf(ranks);
        const loaded = await Promise.all(
          partition(spec, cut).map(async (shape) => {
            const beside = { shape: promptShapes(spec, cut)[shape.rank], bases: null };
            const planned = planWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases: null }, beside });
            await planned.load();
            const options = { ...SIZES, group: { ...ALONE, rank: shape.rank, ranks }, cacheDtype, maxTokens: 512 };
            return {
              shape,
              models: await createMixedModels(device, planned.weights, options, {
                weights: planned.beside!,
                cache: { maxTokens: 512, maxSequences: 2 },
              }),
            };
          }),
        );
        // What ranks have that are handed the prompt by such that split heads.
        const handing = new LocalExchange(ranks);
        const kept = await Promise.all(loaded.map(async ({ models: { prefill, decode }, shape }, i) => {
          const forward = await RankForward.create(prefill, handing.rank(i));
          const computed = prefill.cache.open(length);
          prefill.cache.grow(computed, length);
          for (let start = 0; start < length; start += 40) {
            await forward.run({
              phase: "prefill",
              rows: prompt.slice(start, start + 40).map((token, r) => ({ token, position: start + r, sequence: computed })),
            });
            prefill.device.submit();
            computed.length += 40;
          }
          const sequence = decode.cache.open();
          await handOver({ model: prefill, sequence: computed }, { model: decode, sequence }, shape, length);
          const bytes = await tokensOf(decode, sequence, positions);
          prefill.cache.close(computed);
          decode.cache.close(sequence);
          fill(decode, 0x3c);
          return bytes;
        }));
        const exchange = new LocalExchange(ranks);
        const mixed = await Promise.all(loaded.map(async ({ models, shape }, i) => {
          const rank = await MixedRank.create(models, shape);
          await rank.reset([exchange.rank(i)]);
          return rank;
        }));
        // In chunks that end anywhere, the last one layer by layer; then a prompt that begins alike, whose first block is there, and one whose is copied.
        const blocks = [2, 0];
        const chunk = (
          sequence: number,
          start: number,
          end: number,
          layers: { first: number; end: number },
          begin: Parameters<MixedRank["run"]>[0]["begin"],
        ) => {
          const asks = end === length && layers.end === spec.layers ? [{ ...QUERY, position: length }] : [];
          const tokens = layers.first === 0 ? prompt.slice(start, end) : [];
          const plain = { awaited: false, promptLogprobs: null, following: null };
          return Promise.all(
            mixed.map((rank) => rank.run({ sequence, start, layers, last: end === length, tokens, queries: asks, begin, ...plain })),
          );
        };
        const whole = { first: 0, end: spec.layers };
        const begins = (from: number, kept: number[]) => ({
          length,
          blocks: [4, 1, 3, 5],
          target: null,
          stays: false,
          slices: { tokens: length, from, blocks: kept },
        });
        const check = async (what: string, own: readonly number[]) => {
          for (const [i, { models: { decode } }] of loaded.entries()) {
            const sequence = decode.cache.open();
            decode.cache.hold(sequence, own, own.length);
            assertEquals(await tokensOf(decode, sequence, positions), kept[i], `${what}, rank ${i}, ${cacheDtype}`);
            decode.cache.close(sequence);
          }
        };
        await chunk(1, 0, 33, whole, begins(0, blocks));
        await chunk(1, 33, 97, whole, null);
        await chunk(1, 97, 160, whole, null);
        for (let layer = 0; layer < spec.layers; layer++) await chunk(1, 160, length, { first: layer, end: layer + 1 }, null);
        await check("computed", blocks);
        for (const rank of mixed) rank.close(1);
        for (const [sequence, from, own] of [[2, 128, [2, 1]], [3, 0, [3, 1]]] as const) {
          await chunk(sequence, 192, length, whole, begins(from, [...own]));
          await check(`from ${from}`, own);
          for (const rank of mixed) rank.close(sequence);
        }
        for (const { models } of loaded) for (const { cache } of [models.prefill, models.decode]) cache.checkIntegrity();
      }
    });
  }
});

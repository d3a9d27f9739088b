/**
 * Handing over: whatever the sizes of cuts, windows and pieces, ranks get what they keep, nothing waits for ever, and who is silent is named.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, type RankShape } from "../../../core/tpla/partition.ts";
import type { Link } from "../../../core/wire/link.ts";
import { parseMessage, type PeerFrameOf, peerFrameSchema } from "../../../core/wire/messages.ts";
import { WorkerError } from "../../../core/wire/rpc.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import { cacheTokenBytes } from "../../../kernels/latent_cache/layout.ts";
import { DecodeRank } from "../../../workers/roles/decode.ts";
import { whyNotShared } from "../../../workers/collective/shared_memory.ts";
import { handOver } from "../../../workers/handoff/hand_over.ts";
import { Handoff, type HandoffSizes, HandoffStage } from "../../../workers/handoff/handoff_sender.ts";
import type { OutgoingOptions } from "../../../workers/handoff/handoff_target.ts";
import { ReceivingWindows, SendingWindow } from "../../../workers/handoff/handoff_window.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { Model } from "../../../workers/forward/model.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { loadModel, TEST_LIMITS } from "../../support/fixtures.ts";
import { linked } from "../../support/links.ts";
import { Random, SEED } from "../../../bench/support/random.ts";

const NAME = "deepseek-v3-tiny";
const RANKS = 2;
/** Two layers that travel together, and one that does not go with them. */
const WIDTHS = [24, 24, 32];
const TOKENS = 200;
const EPOCH = 3;

/** What a rank's cache holds of a sequence, layer by layer. */
async function cached({ device, cache }: Model, sequence: CachedSequence, tokens: number): Promise<Uint8Array[]> {
  return await Promise.all(cache.layers.map(async (pages, layer) => {
    const tokenBytes = cacheTokenBytes(cache.buffers[layer].config);
    const readback = await device.createReadback("pages", pages.bytes);
    device.read(readback, pages, 0, pages.bytes);
    device.submit();
    const all = await readback.take();
    const bytes = new Uint8Array(tokens * tokenBytes);
    for (let t = 0; t < tokens; t++) bytes.set(all.subarray(sequence.slotOf(t) * tokenBytes, (sequence.slotOf(t) + 1) * tokenBytes), t * tokenBytes);
    readback.destroy();
    return bytes;
  }));
}

describe("a handoff", () => {
  const device = new CpuDevice();
  let prefill: Model, shapes: readonly RankShape[], ranks: Model[], prompt: CachedSequence;
  /** [rank][layer] */
  let expected: Uint8Array[][];

  beforeAll(async () => {
    prefill = await loadModel(device, NAME, { limits: { prefillRows: 64 } });
    shapes = partition(prefill.spec, { ranks: RANKS, latentGroups: RANKS, halo: 4, widths: WIDTHS });
    using files = new DirectoryFiles(fixtureDirectory(NAME));
    const spec = parseModelConfig((await files.text("config.json"))!, NAME);
    const bases = Array.from({ length: spec.layers }, () => chooseBasis("identity", spec.latentWidth, null));
    ranks = [];
    for (const shape of shapes) {
      const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: "keep", shard: { shape, bases } });
      const options = { cacheDtype: "f32", maxTokens: 1024, maxContext: 512, maxSequences: 4, limits: TEST_LIMITS } as const;
      ranks.push(await Model.create(device, weights, { group: { ...ALONE, rank: shape.rank, ranks: RANKS }, ...options }));
    }
    // Latents of nothing, but each another.
    const random = new Random();
    for (const pages of prefill.cache.layers) device.write(pages, 0, random.normals(pages.bytes / 4));
    prompt = prefill.cache.open();
    prefill.cache.grow(prompt, TOKENS);
    prompt.length = TOKENS;
    expected = await Promise.all(ranks.map(async (model, rank) => {
      const sequence = model.cache.open();
      await handOver({ model: prefill, sequence: prompt }, { model, sequence }, shapes[rank], TOKENS);
      const bytes = await cached(model, sequence, TOKENS);
      model.cache.close(sequence);
      return bytes;
    }));
  });
  afterAll(() => device.close());

  const options = (change: Partial<OutgoingOptions> = {}): OutgoingOptions => ({
    group: "decode-0",
    epoch: EPOCH,
    sequence: 1,
    silentMs: 5000,
    ...change,
  });

  /** Links to ranks that do `answer` with what comes; what comes back is given to the handoff. @param memory bytes that latents may go through; null: none */
  function targetsOf(
    answer: (rank: number, frame: PeerFrameOf<"latents">, payload: Uint8Array<ArrayBuffer>, link: Link) => void,
    memory: number | null = null,
  ) {
    const receiving = new ReceivingWindows();
    const links = shapes.map((_, rank) => linked(0, [`decode-0.${rank}`, "prefill-0.0"]));
    const receivers: Handoff[] = [];
    links.forEach(([near, far], rank) => {
      far.listen(({ message, payload }) => {
        const frame = parseMessage(peerFrameSchema, message) as PeerFrameOf<"latents" | "segment">;
        if (frame.kind === "segment") receiving.open(frame, far);
        else answer(rank, frame, receiving.latentsOf(frame, payload, far), far);
      });
      near.listen(({ message }) => {
        const frame = parseMessage(peerFrameSchema, message) as PeerFrameOf<"ack" | "mapped">;
        if (frame.kind === "mapped") return windows[rank]?.mapped(frame.problem);
        windows[rank]?.answered();
        for (const handoff of receivers) handoff.receive(`decode-0.${rank}`, frame);
      });
    });
    const windows = links.map(([near]) => memory === null ? null : SendingWindow.offer(near, EPOCH, memory));
    return {
      receivers,
      targets: links.map(([link], rank) => ({ worker: `decode-0.${rank}`, link, shape: shapes[rank], window: windows[rank] })),
      close: async () => {
        for (const [near, far] of links) {
          near.close();
          await far.closed;
        }
      },
    };
  }

  /** Hands positions of the prompt over, piece by piece, as a prefill rank does. */
  async function send(handoff: Handoff, from: number, to: number, piece: number, onProgress?: () => void): Promise<void> {
    for (let start = from; start < to; start += piece) {
      const span = { sequence: prompt, start, count: Math.min(piece, to - start) };
      for (let layer = 0; layer < prefill.spec.layers; layer++) await handoff.layer(layer, span, onProgress);
      handoff.submit(onProgress);
      if (start + piece < to) await handoff.sent(1);
    }
    await handoff.finish(onProgress);
  }

  it("gives every rank its columns of every token, in any sizes", async () => {
    const decode = await Promise.all(ranks.map((model) => DecodeRank.create([model])));
    const sizes = fc.record({
      cutBytes: fc.oneof(fc.constant(1), fc.integer({ min: 100, max: 20_000 }), fc.constant(4 << 20)),
      cuts: fc.integer({ min: 1, max: 4 }),
      windowBytes: fc.oneof(fc.constant(1), fc.integer({ min: 100, max: 20_000 }), fc.constant(64 << 20)),
    });
    const property = fc.asyncProperty(
      sizes,
      fc.integer({ min: 1, max: TOKENS }),
      fc.integer({ min: 1, max: 64 }),
      fc.constantFrom(0, 0, 64),
      fc.boolean(),
      fc.constantFrom(null, 1000, 30_000, 16 << 20),
      async (sizes: HandoffSizes, tokens, piece, cachedThere, late, memory) => {
        const from = Math.min(cachedThere, tokens - tokens % 64);
        // Few, where every token is a frame of its own.
        const to = Math.min(tokens, sizes.cutBytes < 2000 || sizes.windowBytes < 2000 ? from + 24 : tokens);
        const stage = await HandoffStage.create(prefill, shapes, sizes);
        const [outstanding, largest] = [shapes.map(() => 0), shapes.map(() => 0)];
        const { targets, receivers, close } = targetsOf((rank, frame, payload, link) => {
          outstanding[rank] += payload.byteLength;
          largest[rank] = Math.max(largest[rank], payload.byteLength);
          assert(outstanding[rank] <= Math.max(sizes.windowBytes, largest[rank]), "no more is on its way than the window, or one part");
          const take = () => {
            outstanding[rank] -= payload.byteLength;
            decode[rank].receive(frame, payload, link, EPOCH);
          };
          if (late) setTimeout(take, 1);
          else take();
        }, memory);
        const blocks = Array.from({ length: Math.ceil(to / 64) }, (_, i) => i);
        for (const rank of decode) rank.open({ sequence: 1, tokens: to, from, blocks });
        const handoff = new Handoff(stage, targets, options());
        receivers.push(handoff);
        await send(handoff, from, to, piece);
        for (const [rank, model] of ranks.entries()) {
          const sequence = model.cache.open();
          model.cache.hold(sequence, blocks, blocks.length);
          const bytes = await cached(model, sequence, to);
          bytes.forEach((layer, l) => {
            const skipped = from * cacheTokenBytes(model.cache.buffers[l].config);
            assertEquals(layer.subarray(skipped), expected[rank][l].subarray(skipped, layer.byteLength), `rank ${rank}, layer ${l}`);
          });
          model.cache.close(sequence);
          decode[rank].close(1);
          for (const pages of model.cache.layers) device.write(pages, 0, new Uint8Array(pages.bytes));
        }
        const tokenBytes = ranks.reduce((sum, { cache: { tokenBytes } }) => sum + tokenBytes, 0);
        assertEquals(stage.counters.bytes, (to - from) * tokenBytes);
        assertEquals(targets.map(({ window }) => window?.shared ?? false), targets.map(() => memory !== null && whyNotShared() === null));
        await close();
      },
    );
    await fc.assert(property, { seed: SEED, numRuns: 40 });
  });

  const tiny: HandoffSizes = { cutBytes: 2000, cuts: 2, windowBytes: 4000 };
  /** Acknowledges what comes, except a rank that does not. */
  const acknowledge = (silent: number | null) => (rank: number, { sequence }: { readonly sequence: number }, payload: Uint8Array, link: Link) => {
    if (rank !== silent) link.send({ kind: "ack", epoch: EPOCH, sequence, bytes: payload.byteLength });
  };

  it("names the rank that acknowledges nothing, and the group, and says meanwhile that it waits", async () => {
    const stage = await HandoffStage.create(prefill, shapes, tiny);
    const { targets, receivers, close } = targetsOf(acknowledge(1));
    const handoff = new Handoff(stage, targets, options({ silentMs: 700 }));
    receivers.push(handoff);
    let signs = 0;
    const error = await assertRejects(() => send(handoff, 0, TOKENS, 64, () => signs++), WorkerError, "acknowledged no latents for 700 ms");
    assertEquals([error.code, error.silent, error.unit], ["timeout", "decode-0.1", { name: "decode-0", epoch: EPOCH }]);
    assert(signs > 0, "who waits for another does not stand still itself");
    handoff.close();
    await close();
  });

  const notShared = whyNotShared();
  if (notShared !== null) it.skip(`through memory: skipped, ${notShared}`);
  else {describe("through memory", () => {
      /** Once the ranks have the memory that they were offered. */
      async function mapped(targets: ReturnType<typeof targetsOf>["targets"]): Promise<void> {
        while (!targets.every(({ window }) => window!.shared)) await new Promise((resolve) => setTimeout(resolve, 1));
      }

      it("sends nothing over the link that memory will have room for, whoever else uses it", async () => {
        const stage = await HandoffStage.create(prefill, shapes, { cutBytes: 2000, cuts: 4, windowBytes: 64 << 20 });
        let overTheLink = 0;
        const { targets, receivers, close } = targetsOf((rank, frame, payload, link) => {
          if (frame.at === undefined) overTheLink++;
          setTimeout(() => acknowledge(null)(rank, frame, payload, link), 1);
        }, 3000);
        await mapped(targets);
        const handoffs = [1, 2, 3].map((sequence) => new Handoff(stage, targets, options({ sequence })));
        receivers.push(...handoffs);
        await Promise.all(handoffs.map((handoff) => send(handoff, 0, 64, 64)));
        assertEquals(overTheLink, 0);
        await close();
      });

      it("does not blame a rank that is busy taking in what came before", async () => {
        const stage = await HandoffStage.create(prefill, shapes, { cutBytes: 2000, cuts: 8, windowBytes: 64 << 20 });
        // Each of the first prompt's parts takes half as long as a rank may be silent.
        let turn = Promise.resolve();
        const { targets, receivers, close } = targetsOf((rank, frame, payload, link) => {
          turn = turn.then(() => new Promise((resolve) => setTimeout(resolve, rank === 0 && frame.sequence === 1 ? 200 : 0)));
          void turn.then(() => acknowledge(null)(rank, frame, payload, link));
        }, 16 << 20);
        await mapped(targets);
        const [first, second] = [1, 2].map((sequence) => new Handoff(stage, targets, options({ sequence, silentMs: 400 })));
        receivers.push(first, second);
        await Promise.all([send(first, 0, 24, 24), send(second, 0, 24, 24)]);
        await close();
      });

      it("names the rank that gives nothing back of what another prompt has there", async () => {
        const stage = await HandoffStage.create(prefill, shapes, { cutBytes: 2000, cuts: 4, windowBytes: 64 << 20 });
        const { targets, receivers, close } = targetsOf(acknowledge(1), 3000);
        await mapped(targets);
        const [first, second] = [1, 2].map((sequence) => new Handoff(stage, targets, options({ sequence, silentMs: 300 })));
        receivers.push(first, second);
        const ended = assertRejects(() => send(first, 0, 64, 64), Error, "closed");
        await new Promise((resolve) => setTimeout(resolve, 50));
        first.close();
        await ended;
        const error = await assertRejects(() => send(second, 0, 64, 64), WorkerError, "acknowledged no latents for 300 ms");
        assertEquals(error.silent, "decode-0.1");
        second.close();
        await close();
      });
    });}

  it("does not hold up the prompts of others once a rank is given up, is gone, or refuses", async () => {
    const stage = await HandoffStage.create(prefill, shapes, { ...tiny, cuts: 1 });
    const troubles: [problem: string, trouble: (link: Link) => void][] = [
      ["is gone", (link) => link.close()],
      ["no room", (link) => link.send({ kind: "rejected", epoch: EPOCH, sequence: 1, message: "no room" })],
      ["acknowledged no latents", () => {}],
    ];
    for (const [problem, trouble] of troubles) {
      const first = targetsOf((rank, frame, payload, link) => rank === 0 ? trouble(link) : acknowledge(null)(rank, frame, payload, link));
      const failing = new Handoff(stage, first.targets, options({ silentMs: 200 }));
      first.receivers.push(failing);
      const second = targetsOf(acknowledge(null));
      const other = new Handoff(stage, second.targets, options({ sequence: 2 }));
      second.receivers.push(other);
      await Promise.all([assertRejects(() => send(failing, 0, TOKENS, 64), Error, problem), send(other, 0, TOKENS, 64)]);
      failing.close();
      await first.close();
      await second.close();
    }
  });

  it("leaves nothing behind at a link that goes on", async () => {
    const stage = await HandoffStage.create(prefill, shapes, tiny);
    const { targets, receivers, close } = targetsOf(acknowledge(null));
    let listeners = 0;
    for (const { link } of targets) {
      const { closed } = link;
      const then = closed.then.bind(closed);
      Object.defineProperty(closed, "then", { value: (...handlers: Parameters<typeof then>) => (listeners++, then(...handlers)) });
    }
    for (let sequence = 1; sequence <= 20; sequence++) {
      const handoff = new Handoff(stage, targets, options({ sequence }));
      receivers.push(handoff);
      await send(handoff, 0, 8, 8);
      handoff.close();
    }
    assert(listeners <= targets.length, `${listeners} listeners of ${targets.length} links`);
    await close();
    for (let sequence = 21; sequence <= 23; sequence++) {
      const late = new Handoff(stage, targets, options({ sequence }));
      await assertRejects(() => send(late, 0, 64, 64), Error, "is gone");
      late.close();
    }
  });

  it("that is closed sends no more and ends who waits for it", async () => {
    const stage = await HandoffStage.create(prefill, shapes, tiny);
    const { targets, close } = targetsOf(acknowledge(0));
    const handoff = new Handoff(stage, targets, options());
    const ended = assertRejects(() => send(handoff, 0, TOKENS, 64), Error, "closed");
    await new Promise((resolve) => setTimeout(resolve, 20));
    handoff.close();
    await ended;
    await close();
  });
});

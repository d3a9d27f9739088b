/**
 * Whole clusters: a coordinator in this process, workers in processes of their own.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parseModelConfig } from "../../core/model/config.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { readChosenWidths } from "../../core/tpla/basis_file.ts";
import { partition } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../core/tpla/plan.ts";
import { resolveCut, SCHEME_DEFAULTS } from "../../core/tpla/scheme.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { Engine } from "../../cluster/local_engine.ts";
import { withCluster, withWorkersHere } from "../support/cluster.ts";
import { tested } from "../support/extent.ts";
import { type Fixture, fixtureDirectory, SPARSE_FIXTURES } from "../support/checkpoints.ts";
import { readGolden } from "../support/fixtures.ts";
import { whyNotShared } from "../../workers/collective/shared_memory.ts";
import { assertGoldenGenerations, generate } from "../support/generation.ts";

async function withEngine(test: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await Engine.load({ model: fixtureDirectory("tiny-mla"), device: "wasm" });
  await test(engine).finally(() => engine.close());
}

async function specOf(name: Fixture) {
  return parseModelConfig(await Deno.readTextFile(`${fixtureDirectory(name)}/config.json`), name);
}

describe("a cluster with exact attention", () => {
  const models = [
    "deepseek-v2-lite-tiny",
    "deepseek-v3-tiny",
    "mistral4-tiny",
    "youtu-tiny",
    "minicpm3-tiny",
    "axk1-tiny",
    ...SPARSE_FIXTURES,
  ] as const;
  for (const ranks of tested("numbers of ranks", [1, 2, 4], (ranks) => ranks === 2)) {
    const others = tested(`models over ${ranks} ranks`, models, (name) => ranks === 2 || name === "deepseek-v3-tiny");
    it(`generates the goldens of every model over ${ranks} ranks`, async () => {
      // Four ranks are fed by a prefill unit of two.
      const prefill = { ranks: ranks === 4 ? 2 : 1 };
      const decode = { attention: "mla" as const, ranks };
      await withCluster({ decode, prefill }, assertGoldenGenerations);
      if (ranks > 1) await withWorkersHere({ decode: { ...decode, feedForward: "replicated" }, prefill }, assertGoldenGenerations);
      for (const name of others) {
        await withWorkersHere({ model: fixtureDirectory(name), decode, prefill }, async (cluster) => {
          const generated = (await readGolden(name)).generated!;
          const { tokens } = await generate(cluster, { prompt: generated.slice(0, 24), maxTokens: 40, ignoreEos: true });
          assertEquals(tokens, generated.slice(24));
        });
      }
    });
  }

  it("draws, penalises, biases and scores as one process does", () =>
    withWorkersHere({ decode: { attention: "mla", ranks: 3 } }, (cluster) =>
      withEngine(async (engine) => {
        const prompt = "To create a new table";
        const first = (await generate(engine, { prompt, maxTokens: 1 })).tokens[0];
        for (
          const options of [
            { temperature: 1.2, seed: 7 },
            { temperature: 1.2, seed: 7, topP: 0.999999 },
            { temperature: 0.8, seed: 3, topK: 20, minP: 0.01 },
            { temperature: 1, seed: 1, frequencyPenalty: 1.5, presencePenalty: 0.5, repetitionPenalty: 1.3 },
            { logitBias: new Map([[first, -100]]), logprobs: 3 },
          ]
        ) {
          const ask = { prompt, maxTokens: 12, ...options };
          const [actual, expected] = [await generate(cluster, ask), await generate(engine, ask)];
          assertEquals([actual.text, actual.tokens], [expected.text, expected.tokens], JSON.stringify(options));
          actual.logprobs.forEach(({ logprob }, i) => assert(Math.abs(logprob - expected.logprobs[i].logprob) < 1e-4, `logprob ${i}`));
        }
        const text = "It was the best of times, it was the worst of times. ".repeat(12);
        const [actual, expected] = [await cluster.score(text, { limitTokens: 150 }), await engine.score(text, { limitTokens: 150 })];
        assertEquals(actual.tokens, expected.tokens);
        assert(Math.abs(actual.nll - expected.nll) < 1e-3, `${actual.nll} beside ${expected.nll}`);
      })));
});

describe("a cluster with TPLA", () => {
  for (const [wire, feedForward] of [["f32", "sharded"], ["f16", "replicated"]] as const) {
    it(`gives the same bits whichever way parts in ${wire} travel, feed-forward blocks ${feedForward}`, async () => {
      const ask = { prompt: "And it came to pass in those days", maxTokens: 24, logprobs: 4, ignoreEos: true };
      const answers: Awaited<ReturnType<typeof generate>>[] = [];
      for (const exchange of whyNotShared() === null ? ["shared-memory", "websocket"] as const : ["websocket"] as const) {
        await withCluster({ decode: { ranks: 3, latentGroups: 3, wire, feedForward, exchange } }, async (cluster) => {
          answers.push(await generate(cluster, ask));
          const [decode, prefill] = (await cluster.describe()).units;
          assertEquals([decode.exchange?.by, prefill.exchange?.by], [exchange, "memory"]);
          const { layers } = await specOf("tiny-mla");
          const sums = layers * (feedForward === "sharded" ? 2 : 1);
          const probes = decode.workers[0].stats!.collectives - 23 * sums;
          assert(probes >= 0 && probes < sums, `${decode.workers[0].stats!.collectives} sums`);
          // Every rank has taken what it was offered before it acknowledges the first prompt.
          await generate(cluster, { ...ask, prompt: "Something else", maxTokens: 2 });
          const [before, after] = [prefill, (await cluster.describe()).units[1]].map(({ workers: [{ stats }] }) => stats!);
          const [handed, sent] = [after.handoffBytes - before.handoffBytes, after.sentBytes - before.sentBytes];
          assert(exchange === "websocket" ? sent > handed : sent < handed / 4, `${sent} of ${handed} bytes went over links, with ${exchange}`);
        });
      }
      for (const answer of answers) assertEquals(answer, answers[0]);
      await withEngine(async (engine) => {
        // What they compute is TPLA, which is not exact; with its halo it is near, and begins alike.
        assertEquals(answers[0].tokens.slice(0, 4), (await generate(engine, ask)).tokens.slice(0, 4));
      });
    });
  }

  it("equals one process where every rank keys on everything", () =>
    withEngine(async (engine) => {
      const ask = { prompt: "And it came to pass in those days", maxTokens: 24 };
      const expected = await generate(engine, ask);
      for (const decode of [{ ranks: 2, halo: 128 }, { ranks: 4, latentGroups: 2, halo: 128, basis: "hadamard" as const }, { ranks: 1 }]) {
        await withWorkersHere({ decode }, async (cluster) => assertEquals((await generate(cluster, ask)).tokens, expected.tokens));
      }
    }));

  for (const dtype of ["f32", "q8"] as const) {
    it(`caches and hands over what the formulas say of ${dtype}, and gives every block back`, () =>
      withWorkersHere({ cache: { dtype }, decode: { ranks: 2 }, prefill: { chunk: 16 } }, async (cluster) => {
        const spec = await specOf("tiny-mla");
        using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
        const chosen = await readChosenWidths(await files.open("basis.safetensors"), spec);
        const shapes = partition(spec, resolveCut(spec, { ...SCHEME_DEFAULTS, ranks: 2 }, chosen));
        const prompt = Array.from({ length: 70 }, (_, i) => 100 + i);
        const { tokens } = await generate(cluster, { prompt, maxTokens: 80, ignoreEos: true, speculate: "off" });
        assertEquals(tokens.length, 80);
        const workers = await cluster.status();
        const [rank0, rank1, prefill] = workers.map(({ stats }) => stats);
        assertEquals(workers.map(({ unit, rank }) => `${unit}.${rank}`), ["decode-0.0", "decode-0.1", "prefill-0.0"]);
        assertEquals([rank0, rank1].map((stats) => stats.cacheBytesPerToken), shapes.map((shape) => cacheBytesPerToken(spec, shape, dtype)));
        assertEquals(prefill.handoffBytes, 70 * handoffBytesPerToken(spec, shapes, dtype));
        assertEquals([rank0.sequences, rank0.freeBlocks, rank1.sequences, rank1.freeBlocks], [0, 128, 0, 128]);
        // Two sums per layer and step; the first token comes from prefill. A unit that is idle for a while is probed with one more.
        const probes = rank0.collectives - 79 * spec.layers * 2;
        assert(probes >= 0 && probes < spec.layers * 2, `${rank0.collectives} sums`);
      }));
  }

  it("serves several requests at once, forgets those that are left, and refuses what does not fit", () =>
    withCluster({ cache: { maxTokens: 256 }, decode: { groups: 2, ranks: 1 } }, async (cluster) => {
      const prompts = ["And it came to pass", "To create a new table", "It was"];
      const alone: string[] = [];
      for (const prompt of prompts) alone.push((await generate(cluster, { prompt, maxTokens: 8 })).text);
      const together = await Promise.all(prompts.map((prompt) => generate(cluster, { prompt, maxTokens: 8 })));
      assertEquals(together.map(({ text }) => text), alone);
      for await (const _ of cluster.generate({ prompt: prompts[0], maxTokens: 200, ignoreEos: true })) break;
      const controller = new AbortController();
      const long = Array.from({ length: 250 }, (_, i) => i + 10);
      const cancelled = assertRejects(
        () => generate(cluster, { prompt: long, maxTokens: 4, signal: controller.signal }),
        LatentmeshError,
        "cancelled",
      );
      controller.abort();
      await cancelled;
      await assertRejects(() => generate(cluster, { prompt: new Array(257).fill(10) }), LatentmeshError, "The prompt has 257 tokens");
      assertEquals((await generate(cluster, { prompt: prompts[1], maxTokens: 8 })).text, alone[1]);
      for (const { unit, stats } of await cluster.status()) assertEquals([stats.sequences, stats.freeBlocks], [0, 4], unit);
    }));
});

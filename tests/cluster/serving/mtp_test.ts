/**
 * Streams that a layer of the model drafts for are those that come one by one, bit for bit, whatever a request asks for and whatever becomes of the units.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type Config, Engine } from "../../../mod.ts";
import { writeGrammar } from "../../../cluster/grammar/written_grammar.ts";
import { createGrammars } from "../../../cluster/text/model_grammars.ts";
import type { DraftTotals } from "../../../core/engine.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { GREEDY } from "../../../core/sampling/params.ts";
import type { Speculation } from "../../../core/speculation/speculation.ts";
import type { GenerateOptions } from "../../../core/text/text_engine.ts";
import { Random } from "../../../bench/support/random.ts";
import { withCluster, withWorkersHere } from "../../support/cluster.ts";
import { reportLeftOut, tested } from "../../support/extent.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { generate } from "../../support/generation.ts";
import { guessAlways } from "../../support/guess_always.ts";
import { assertSameStreams, randomRequest, REQUESTS, Tried } from "../../support/guessed.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

/** As many token ids as its tokenizer has. */
const CONFIG = { ...ODD_MTP_CONFIG, vocab_size: 512 };

/** Prompts of which some are alike, and some begin alike. */
function requestsOf(seed: number): GenerateOptions[] {
  const random = new Random(seed);
  const drawn = (length: number) => Array.from({ length }, () => random.below(CONFIG.vocab_size));
  const beginning = drawn(40);
  const prompts = [drawn(1), drawn(37), [...beginning, ...drawn(5)], [...beginning, ...drawn(9)], beginning];
  return Array.from({ length: 2 * REQUESTS }, () => randomRequest(random, prompts[random.below(prompts.length)]));
}

describe("drafts of a layer of the model", () => {
  guessAlways();
  reportLeftOut("half of the requests");
  const tried = new Tried();
  let model = "", without = "";
  beforeAll(async () => {
    model = await writeRandomCheckpoint(CONFIG, { agreeing: true });
    without = await writeRandomCheckpoint(CONFIG, { withoutMtp: true });
  });
  afterAll(async () => {
    for (const directory of [model, without]) await Deno.remove(directory, { recursive: true });
  });

  const hadamard = { basis: "hadamard", attention: "tpla" } as const;
  const clusters: Record<string, Config> = {
    "ranks that split heads": { decode: { attention: "mla", ranks: 2 } },
    "ranks that share latents by tokens": { decode: { attention: "dcp", ranks: 2 } },
    "ranks that split latents, halves of steps side by side, handed over by two": {
      decode: { ...hadamard, ranks: 2, pingPong: true },
      prefill: { ranks: 2 },
    },
    "two mixed units with little room": { mixed: { workers: 2 }, cache: { maxTokens: 512 } },
    "a mixed unit that generates from slices": { mixed: { workers: 1, ranks: 2 }, decode: hadamard },
  };
  const stay = ["ranks that share latents by tokens", "a mixed unit that generates from slices"];
  const some = tested(
    "clusters whose workers are killed",
    Object.entries(clusters),
    ([name]) => stay.includes(name) || name.startsWith("ranks that split latents"),
  );
  some.forEach(([name, config], seed) => {
    it(`change no token of ${name}, some of which is killed`, () =>
      withCluster({ ...config, model, decode: { ...config.decode, speculate: "mtp" } }, async (cluster) => {
        await assertSameStreams(cluster, requestsOf(seed + 1), {
          speculate: "mtp",
          meanwhile: async () => {
            await new Promise((resolve) => setTimeout(resolve, 300));
            Deno.kill((await cluster.status()).at(-1)!.pid, "SIGKILL");
          },
        });
        tried.count(cluster);
        cluster.checkIntegrity();
      }));
  });

  it("take no more of the cache than tokens do, where ranks share latents by tokens", () =>
    withWorkersHere({ model, decode: { attention: "dcp", ranks: 2, speculate: "mtp" } }, async (cluster) => {
      const prompt = requestsOf(1)[0].prompt as number[];
      const ask = { prompt: Array.from({ length: 200 }, (_, i) => prompt[i % prompt.length] ^ i), maxTokens: 90, ignoreEos: true };
      const plain = await generate(cluster, { ...ask, speculate: "off" });
      const used = new Set<number>();
      const tokens: number[] = [];
      for await (const piece of cluster.generate(ask)) {
        tokens.push(...piece.tokens);
        const { blocks, available } = (await cluster.describe()).units[0].cache;
        used.add(blocks - available);
      }
      assertEquals(tokens, plain.tokens);
      tried.count(cluster);
      // Blocks stand for 128 tokens each.
      assert(Math.max(...used) <= 3, `${[...used]} blocks`);
      assertEquals((await cluster.describe()).incidents, [], "no unit was lost");
    }));

  it("were right and wrong", () => tried.assertBoth());

  it("change no token in one process, beside those that are said again", async () => {
    const engine = await Engine.load({ model, device: "wasm", maxBatch: 24 });
    try {
      for (const [seed, speculate] of [[11, "mtp"], [12, "auto"]] as const) await assertSameStreams(engine, requestsOf(seed), { speculate });
      const pieces = await Array.fromAsync(
        engine.generate({ prompt: [5, 6, 7], maxTokens: 60, temperature: 1, seed: 3, ignoreEos: true, speculate: "mtp" }),
      );
      const { accepted, rejected } = pieces.at(-1)!.drafts!;
      assert(accepted > 0 && rejected > 0, `${accepted} were right, ${rejected} were not`);
    } finally {
      await engine.close();
    }
  });

  it("change no token where a grammar restricts them, and are of those that it allows", async () => {
    const engine = await Engine.load({ model, device: "wasm", speculate: "mtp" });
    using grammars = createGrammars(engine.served);
    try {
      const kettle = {
        type: "object",
        properties: { name: { type: "string", maxLength: 9 }, price: { type: "integer" } },
        required: ["name", "price"],
      };
      const grammar = writeGrammar({ kind: "json", schema: { type: "array", items: kettle, minItems: 12 }, strict: true });
      const run = async (speculate: Speculation, temperature: number) => {
        const [constraint] = await grammars.constrain(grammar, { count: 1, client: "" });
        using _ = constraint;
        const tokens: number[] = [];
        let drafts: DraftTotals | undefined;
        const request = {
          prompt: [5, 6, 7],
          maxTokens: 90,
          sampling: { ...GREEDY, temperature, seed: 4, frequencyPenalty: 0.1 },
          choice: 0,
          stopTokens: new Set(engine.served.eosTokens),
          logprobs: null,
          promptLogprobs: null,
          constraint,
          speculate,
          signal: new AbortController().signal,
        };
        await engine.served.engine.generate(request, (event) => {
          if (event.kind !== "token") return;
          tokens.push(event.token);
          drafts = event.drafts ?? drafts;
        });
        return { tokens, drafts };
      };
      let [accepted, tried] = [0, 0];
      for (const temperature of [0, 1]) {
        const [guessed, plain] = [await run("mtp", temperature), await run("off", temperature)];
        assertEquals(guessed.tokens, plain.tokens);
        accepted += guessed.drafts?.accepted ?? 0;
        tried += (guessed.drafts?.accepted ?? 0) + (guessed.drafts?.rejected ?? 0);
      }
      assert(accepted > 10 && tried > accepted, `${accepted} of ${tried} drafted tokens were right`);
    } finally {
      await engine.close();
    }
  });

  it("are refused where there is no such layer, and not loaded where nobody wants them", async () => {
    const options = { device: "wasm", speculate: "mtp" } as const;
    for (const [directory, why] of [[without, "its files lack"], [fixtureDirectory("deepseek-v2-lite-tiny"), "its config.json names none"]]) {
      const error = await assertRejects(() => Engine.load({ ...options, model: directory }), LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", "decode.speculate"]);
      assertStringIncludes(error.message, why);
    }
    for (const [directory, speculate] of [[model, "ngram"], [without, "auto"]] as const) {
      const engine = await Engine.load({ model: directory, device: "wasm", speculate });
      try {
        assertEquals(engine.spec.mtp, false);
        const error = await assertRejects(() => generate(engine, { prompt: [1, 2], maxTokens: 3, speculate: "mtp" }), LatentmeshError);
        assertEquals([error.code, error.param], ["invalid_request", "speculate"]);
        assertEquals((await generate(engine, { prompt: [1, 2], maxTokens: 3, speculate: "auto", ignoreEos: true })).tokens.length, 3);
      } finally {
        await engine.close();
      }
    }
  });
});

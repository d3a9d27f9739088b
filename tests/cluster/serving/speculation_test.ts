/**
 * Streams whose tokens are guessed and verified several at a time are those that come one by one, bit for bit, whatever a request asks for and whatever else runs.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type Config, Engine } from "../../../mod.ts";
import { writeGrammar } from "../../../cluster/grammar/written_grammar.ts";
import { createGrammars } from "../../../cluster/text/model_grammars.ts";
import type { Speculation } from "../../../core/speculation/speculation.ts";
import type { DraftTotals } from "../../../core/engine.ts";
import { GREEDY } from "../../../core/sampling/params.ts";
import { Random } from "../../../bench/support/random.ts";
import type { GenerateOptions } from "../../../core/text/text_engine.ts";
import { guessAlways } from "../../support/guess_always.ts";
import { withCluster } from "../../support/cluster.ts";
import { reportLeftOut, tested } from "../../support/extent.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { generate } from "../../support/generation.ts";
import { assertSameStreams, randomRequest, REQUESTS, Tried } from "../../support/guessed.ts";

const TEXTS = [
  "And it came to pass in those days, that there went out a decree. And it came to pass in those days, that",
  '[{"id": 1, "name": "kettle"}, {"id": 2, "name": "lid"}, {"id": 3, "name": "kettle"}, {"id": 4,',
  "for (let i = 0; i < 10; i++) { a(i); }\nfor (let j = 0; j < 10; j++) { a(j); }\nfor (let i = 0;",
  "one two three four one two three four one two",
  "The kettle is",
];

function requestsOf(seed: number): GenerateOptions[] {
  const random = new Random(seed);
  return Array.from({ length: REQUESTS }, () => randomRequest(random, TEXTS[random.below(TEXTS.length)].repeat(1 + random.below(2))));
}

describe("guessed tokens", () => {
  guessAlways();
  reportLeftOut("half of the requests");
  const tried = new Tried();

  const clusters: Record<string, Config> = {
    "ranks that split heads": { decode: { attention: "mla", ranks: 2 } },
    "ranks that split latents, halves of steps side by side": { decode: { attention: "tpla", ranks: 2, pingPong: true } },
    "two mixed units with little room": { mixed: { workers: 2 }, cache: { maxTokens: 1024 } },
  };
  const some = tested("clusters whose workers are killed", Object.entries(clusters), ([name]) => name !== "ranks that split heads");
  some.forEach(([name, config], seed) => {
    it(`are those that come one by one, from ${name}, some of which is killed`, () =>
      withCluster(config, async (cluster) => {
        const requests = requestsOf(seed + 1);
        await assertSameStreams(cluster, requests, {
          meanwhile: async () => {
            await new Promise((resolve) => setTimeout(resolve, 300));
            Deno.kill((await cluster.status()).at(-1)!.pid, "SIGKILL");
          },
        });
        tried.count(cluster);
        cluster.checkIntegrity();
      }));
  });

  it("were right and wrong", () => tried.assertBoth());

  it("are those that come one by one where a grammar allows them", async () => {
    const engine = await Engine.load({ model: fixtureDirectory("tiny-mla"), device: "wasm" });
    using grammars = createGrammars(engine.served);
    try {
      const kettle = { type: "object", properties: { name: { type: "string" }, price: { type: "integer" } }, required: ["name", "price"] };
      const grammar = writeGrammar({ kind: "json", schema: { type: "array", items: kettle, minItems: 12 }, strict: true });
      const prompt = engine.served.tokenizer.encode(`${TEXTS[1]}\n[`, { special: true });
      const run = async (speculate: Speculation, temperature: number, choice: number) => {
        const [constraint] = await grammars.constrain(grammar, { count: 1, client: "" });
        using _ = constraint;
        const tokens: number[] = [];
        let drafts: DraftTotals | undefined;
        const { signal } = new AbortController();
        const sampling = { ...GREEDY, temperature, seed: 4, frequencyPenalty: choice === 1 ? 0.1 : 0 };
        const request = {
          prompt,
          maxTokens: 90,
          sampling,
          choice,
          stopTokens: new Set(engine.served.eosTokens),
          logprobs: null,
          promptLogprobs: null,
          constraint,
          speculate,
          signal,
        };
        await engine.served.engine.generate(request, (event) => {
          if (event.kind !== "token") return;
          tokens.push(event.token);
          drafts = event.drafts;
        });
        return { tokens, drafts };
      };
      let accepted = 0;
      for (const [temperature, choice] of [[0, 0], [0, 1], [0.8, 2], [1, 3]]) {
        const [guessed, plain] = [await run("auto", temperature, choice), await run("off", temperature, choice)];
        assertEquals(guessed.tokens, plain.tokens);
        accepted += guessed.drafts?.accepted ?? 0;
      }
      assert(accepted > 20, `${accepted} tokens were guessed`);
    } finally {
      await engine.close();
    }
  });

  it("are those that come one by one, in one process, and what became of them is told", async () => {
    const engine = await Engine.load({ model: fixtureDirectory("tiny-mla"), device: "wasm", maxBatch: 12 });
    try {
      await assertSameStreams(engine, requestsOf(9));
      const pieces = await Array.fromAsync(engine.generate({ prompt: TEXTS[3], maxTokens: 40, ignoreEos: true }));
      const { accepted, rejected } = pieces.at(-1)!.drafts!;
      assert(accepted > 0 && rejected >= 0 && accepted < 40);
      const answer = (await generate(engine, { prompt: TEXTS[4], maxTokens: 40, temperature: 1, seed: 5, ignoreEos: true })).tokens;
      const prediction = [...answer.slice(0, 15), 7, 8, ...answer.slice(17)];
      const expected = await Array.fromAsync(
        engine.generate({ prompt: TEXTS[4], maxTokens: 40, temperature: 1, seed: 5, ignoreEos: true, prediction }),
      );
      assertEquals(expected.flatMap(({ tokens }) => tokens), answer);
      assert(expected.at(-1)!.drafts!.accepted > 20, `${expected.at(-1)!.drafts!.accepted} tokens were as expected`);
      const off = await Array.fromAsync(engine.generate({ prompt: TEXTS[3], maxTokens: 40, speculate: "off" }));
      assert(off.every(({ drafts }) => drafts === undefined));
    } finally {
      await engine.close();
    }
  });
});

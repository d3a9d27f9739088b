/**
 * Sparse attention served: index keys go wherever latents go. Whatever becomes of a request on its way, it gets the bits that it gets alone.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parseModelConfig } from "../../core/model/config.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { partition } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../core/tpla/plan.ts";
import type { Config } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { withCluster, withWorkersHere } from "../support/cluster.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { freeAgain, run, tokenRequest } from "../support/token_requests.ts";

const model = fixtureDirectory("deepseek-v32-tiny");

/** Prompts are handed over, index keys with latents. */
const HANDED: Config = { decode: { attention: "tpla", ranks: 2, halo: 8, basis: "hadamard" } };

/** Ways of cutting it: prompts handed over to ranks with whole latents and with slices, computed where they are generated from, and copied there. */
const WAYS: readonly [name: string, config: Config][] = [
  ["exact decode ranks", { decode: { attention: "mla", ranks: 2 } }],
  ["ranks with slices of latents", HANDED],
  ["a mixed unit", { mixed: { workers: 1 } }],
  ["a mixed unit that generates from slices", { mixed: { workers: 1, ranks: 2 }, decode: { attention: "tpla", halo: 8, basis: "hadamard" } }],
];

/** Prompts, most of them of more tokens than are attended to. */
const prompts = [10, 30, 50, 60, 100].map((length, i) => Array.from({ length }, (_, t) => 3 + (t * (7 + i) + i) % 256));

describe("sparse attention", () => {
  for (const [name, config] of WAYS) {
    it(`gives a request the same bits beside others, when blocks run out, and from a prefix, by ${name}`, () =>
      (config === HANDED ? withCluster : withWorkersHere)(
        { ...config, model, cache: { maxTokens: 384 }, prefill: { chunk: 24 } },
        async (cluster) => {
          const requests = prompts.map((prompt, i) => ({ prompt, change: { maxTokens: 60, client: `client ${i}` } }));
          const alone: Awaited<ReturnType<typeof run>>[] = [];
          for (const { prompt, change } of requests) alone.push(await run(cluster, tokenRequest(prompt, { ...change, client: "alone" })));
          const together = await Promise.all(requests.map(({ prompt, change }) => run(cluster, tokenRequest(prompt, change))));
          const outcome = ({ tokens, logprobs }: typeof alone[number]) => ({ tokens, logprobs });
          assertEquals(together.map(outcome), alone.map(outcome));
          assert(cluster.scheduling.preemptions > 0, "somebody was preempted");
          // Choices share a prompt's blocks until they write to one.
          const choices = [0, 1, 2];
          const apart: typeof alone = [];
          for (const choice of choices) apart.push(await run(cluster, tokenRequest(prompts[4], { choice, client: `choice ${choice}` })));
          const forked = await Promise.all(choices.map((choice) => run(cluster, tokenRequest(prompts[4], { choice, client: "all" }))));
          assertEquals(forked.map(outcome), apart.map(outcome));
          const again = await run(cluster, tokenRequest(prompts[4], { client: "all" }));
          assertEquals([again.cached, outcome(again)], [64, outcome(apart[0])]);
          await freeAgain(cluster, 384);
        },
      ));
  }

  it("goes on where it was after a decode rank is killed", () =>
    withCluster({ ...HANDED, model, prefill: { chunk: 24 } }, async (cluster) => {
      const ask = () => run(cluster, tokenRequest(prompts[4], { maxTokens: 60 }));
      const expected = await ask();
      const stream = ask();
      const { steps } = cluster.stepTimes;
      await until(() => cluster.stepTimes.steps > steps + 10);
      Deno.kill((await cluster.status()).find(({ worker }) => worker.startsWith("decode"))!.pid, "SIGKILL");
      const { tokens, logprobs } = await stream;
      assertEquals({ tokens, logprobs }, { tokens: expected.tokens, logprobs: expected.logprobs });
      assert(cluster.scheduling.replays > 0);
    }));

  it("caches and hands over index keys, as the formulas say", async () => {
    const spec = parseModelConfig(await Deno.readTextFile(`${model}/config.json`), "config.json");
    for (const dtype of ["f32", "f16", "q8"] as const) {
      await withWorkersHere({ decode: { ranks: 2, halo: 8, basis: "hadamard" }, model, cache: { dtype } }, async (cluster) => {
        await run(cluster, tokenRequest(prompts[4], { maxTokens: 2 }));
        const shapes = partition(spec, { ranks: 2, latentGroups: 2, halo: 8 }, { ranks: 2, latentGroups: 2, halo: 8 });
        const [rank0, rank1, prefill] = (await cluster.status()).map(({ stats }) => stats);
        const bytes = shapes.map((shape) => cacheBytesPerToken(spec, shape, dtype));
        assertEquals([rank0, rank1].map((stats) => stats.cacheBytesPerToken), bytes);
        // Keys and values in the halo and the slice, rotated keys, and index keys in f16 where latents have eight bits.
        if (dtype !== "q8") assertEquals(bytes, [(16 + 8 + 16) * 2, (24 + 8 + 16) * 2].map((values) => values * (dtype === "f32" ? 4 : 2)));
        assertEquals(prefill.handoffBytes, prompts[4].length * handoffBytesPerToken(spec, shapes, dtype));
      });
    }
  });

  it("says what is missing where ranks would share latents by tokens, or a layer would draft", async () => {
    for (const [decode, says] of [[{ attention: "dcp" as const, ranks: 2 }, "dcp"], [{ speculate: "mtp" as const, ranks: 1 }, "mtp"]] as const) {
      await assertRejects(() => withCluster({ model, decode }, () => Promise.resolve()), LatentmeshError, says);
    }
  });
});

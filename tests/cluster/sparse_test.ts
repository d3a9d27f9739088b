/**
 * Sparse attention served: index keys go wherever latents go. Whatever becomes of a request on its way, it gets the bits that it gets alone.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parseModelConfig } from "../../core/model/config.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { partition } from "../../core/tpla/partition.ts";
import { GREEDY } from "../../core/sampling/params.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../core/tpla/plan.ts";
import type { Config } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { withCluster, withWorkersHere } from "../support/cluster.ts";
import { fixtureDirectory, SPARSE_FIXTURES } from "../support/checkpoints.ts";
import { tested } from "../support/extent.ts";
import { freeAgain, run, tokenRequest } from "../support/token_requests.ts";

const model = fixtureDirectory("deepseek-v32-tiny");

/** Prompts are handed over, index keys with latents. */
const HANDED: Config = { cache: { indexDtype: "fp8" }, decode: { attention: "tpla", ranks: 2, halo: 8, basis: "hadamard" } };

/** Ways of cutting it: prompts handed over to ranks with whole latents and with slices, computed where they are generated from, and copied there. */
const WAYS: readonly [name: string, config: Config][] = [
  ["exact decode ranks", { decode: { attention: "mla", ranks: 2 } }],
  ["ranks with slices of latents", HANDED],
  ["a mixed unit", { mixed: { workers: 1 } }],
  ["a mixed unit that generates from slices", { mixed: { workers: 1, ranks: 2 }, decode: { attention: "tpla", halo: 8, basis: "hadamard" } }],
  ["ranks that share latents by tokens", { decode: { attention: "dcp", ranks: 2 } }],
  ["a mixed unit whose ranks share latents by tokens", {
    cache: { indexDtype: "fp8" },
    mixed: { workers: 1, ranks: 2 },
    decode: { attention: "dcp" },
  }],
];

/** Prompts, most of them of more tokens than are attended to. */
const prompts = [10, 30, 50, 60, 100].map(promptOf);
/** Such that come to a second block of 128 tokens, where a block stands for so many, or are in it. */
const longer = [110, 90, 120, 100, 150].map(promptOf);

function promptOf(length: number, which: number): number[] {
  return Array.from({ length }, (_, t) => 3 + (t * (7 + which) + which) % 256);
}

describe("sparse attention", () => {
  for (const [name, config] of WAYS) {
    const [asked, shared] = config.decode?.attention === "dcp" ? [longer, 128] : [prompts, 64];
    it(`gives a request the same bits beside others, when blocks run out, and from a prefix, by ${name}`, () =>
      (config === HANDED ? withCluster : withWorkersHere)(
        { ...config, model, cache: { ...config.cache, maxTokens: 384 }, prefill: { chunk: 24 } },
        async (cluster) => {
          const requests = asked.map((prompt, i) => ({ prompt, change: { maxTokens: 60, client: `client ${i}` } }));
          const alone: Awaited<ReturnType<typeof run>>[] = [];
          for (const { prompt, change } of requests) alone.push(await run(cluster, tokenRequest(prompt, { ...change, client: "alone" })));
          const together = await Promise.all(requests.map(({ prompt, change }) => run(cluster, tokenRequest(prompt, change))));
          const outcome = ({ tokens, logprobs }: typeof alone[number]) => ({ tokens, logprobs });
          assertEquals(together.map(outcome), alone.map(outcome));
          assert(cluster.scheduling.preemptions > 0, "somebody was preempted");
          // Choices share a prompt's blocks until they write to one.
          const choices = [0, 1, 2];
          const apart: typeof alone = [];
          for (const choice of choices) apart.push(await run(cluster, tokenRequest(asked[4], { choice, client: `choice ${choice}` })));
          const forked = await Promise.all(choices.map((choice) => run(cluster, tokenRequest(asked[4], { choice, client: "all" }))));
          assertEquals(forked.map(outcome), apart.map(outcome));
          const again = await run(cluster, tokenRequest(asked[4], { client: "all" }));
          assertEquals([again.cached, outcome(again)], [shared, outcome(apart[0])]);
          await freeAgain(cluster, 384 * 64 / shared);
        },
      ));
  }

  const kinds: readonly Config[] = [HANDED, { decode: { attention: "dcp", ranks: 3 } }];
  for (const config of tested("kinds of ranks that are killed", kinds, ({ decode }) => decode?.attention === "dcp")) {
    it(`goes on where it was after a decode rank is killed, by ${config.decode!.attention}`, () =>
      withCluster({ ...config, model, prefill: { chunk: 24 } }, async (cluster) => {
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
  }

  it("says by ranks that share latents by tokens what one worker says", async () => {
    for (const name of SPARSE_FIXTURES) {
      const asks = longer.map((prompt) => tokenRequest(prompt, { sampling: GREEDY, maxTokens: 40 }));
      const said = async (decode: Config["decode"]) => {
        const tokens: number[][] = [];
        await withWorkersHere({ model: fixtureDirectory(name), decode }, async (cluster) => {
          for (const ask of asks) tokens.push((await run(cluster, ask)).tokens);
        });
        return tokens;
      };
      const expected = await said({ attention: "mla", ranks: 1 });
      for (const ranks of [2, 3]) assertEquals(await said({ attention: "dcp", ranks }), expected, `${name} by ${ranks} ranks`);
    }
  });

  it("caches and hands over index keys, as the formulas say", async () => {
    const spec = parseModelConfig(await Deno.readTextFile(`${model}/config.json`), "config.json");
    const cuts = [
      [{ ranks: 2, halo: 8, basis: "hadamard" }, { ranks: 2, latentGroups: 2, halo: 8 }],
      [{ ranks: 2, attention: "dcp" }, { ranks: 2, latentGroups: 1, halo: 0, tokenShares: 2 }],
    ] as const;
    const dtypes = [["f32"], ["f16"], ["q8"], ["q8", "fp8"], ["f16", "fp8"]] as const;
    for (const [[decode, cut], [dtype, indexDtype]] of cuts.flatMap((cut) => dtypes.map((dtype) => [cut, dtype] as const))) {
      await withWorkersHere({ decode, model, cache: { dtype, indexDtype } }, async (cluster) => {
        await run(cluster, tokenRequest(prompts[4], { maxTokens: 2 }));
        const shapes = partition(spec, cut);
        const [rank0, rank1, prefill] = (await cluster.status()).map(({ stats }) => stats);
        const bytes = shapes.map((shape) => cacheBytesPerToken(spec, shape, dtype, indexDtype));
        assertEquals([rank0, rank1].map((stats) => stats.cacheBytesPerToken), bytes);
        // Keys and values in the halo and the slice, rotated keys, and index keys in f16 where latents have eight bits.
        // Ranks that share latents by tokens have index keys of two tokens for each whose latents they keep.
        const widths = cut.latentGroups === 2 ? [16 + 8 + 16, 24 + 8 + 16] : [32 + 8 + 2 * 16, 32 + 8 + 2 * 16];
        if (dtype !== "q8" && indexDtype === undefined) assertEquals(bytes, widths.map((values) => values * 2 * (dtype === "f32" ? 4 : 2)));
        // Sixteen bytes and as many for a scale take the place of 16 values.
        if (dtype === "f16" && indexDtype === "fp8") assertEquals(bytes, widths.map((values) => values * 2 * 2));
        assertEquals(prefill.handoffBytes, prompts[4].length * handoffBytesPerToken(spec, shapes, dtype, indexDtype));
      });
    }
  });

  it("refuses a precision of index keys where there are none", async () => {
    const other = { model: fixtureDirectory("tiny-mla"), cache: { indexDtype: "fp8" as const } };
    await assertRejects(() => withCluster(other, () => Promise.resolve()), LatentmeshError, "caches no index keys");
  });

  it("says what is missing where a layer would draft", async () => {
    const decode = { speculate: "mtp" as const, ranks: 1 };
    await assertRejects(() => withCluster({ model, decode }, () => Promise.resolve()), LatentmeshError, "mtp");
  });
});

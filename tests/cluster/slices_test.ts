/**
 * TPLA groups without a prefill unit: their ranks compute prompts among themselves, exactly, and keep slices of latents to generate from. What a prefill unit of as many
 * ranks and the same group give is what they must give, to the bit.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { ClusterTokenEngine } from "../../cluster/serving/cluster_engine.ts";
import type { TokenRequest } from "../../core/engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { GREEDY } from "../../core/sampling/params.ts";
import type { Config, RunningCluster } from "../../mod.ts";
import { absence, adapterName } from "../support/devices.ts";
import { until, withCluster } from "../support/cluster.ts";
import { type Fixture, fixtureDirectory } from "../support/fixtures.ts";
import { freeAgain, run, tokenRequest } from "../support/token_requests.ts";

/** A group whose ranks compute prompts themselves. */
const alone = (change: Config = {}): Config => ({ ...change, prefill: { ...change.prefill, workers: 0 } });

/** The same group with a prefill unit of as many ranks, which sums the same parts. */
const apart = (change: Config = {}): Config => ({ ...change, prefill: { ...change.prefill, ranks: change.decode?.ranks ?? 2 } });

const BLOCKS_OF_1024 = 2 * 16;

/** Prompts that begin alike and not, greedy and drawn, of one client and of others; some of which are only scored. */
const requests = fc.array(
  fc.record({
    family: fc.nat(2),
    length: fc.integer({ min: 1, max: 100 }),
    maxTokens: fc.integer({ min: 0, max: 14 }),
    sampling: fc.constantFrom(GREEDY, { ...GREEDY, temperature: 1 }, { ...GREEDY, temperature: 0.9, topP: 0.9 }, { ...GREEDY, repetitionPenalty: 1.2 }),
    seed: fc.nat(100),
    choices: fc.constantFrom(1, 1, 1, 3),
    client: fc.constantFrom("a", "b"),
    scored: fc.constantFrom(false, false, false, true),
  }),
  { minLength: 6, maxLength: 10 },
).map((all) =>
  all.flatMap(({ family, length, choices, sampling, seed, scored, ...rest }) => {
    const prompt = Array.from({ length }, (_, i) => 100 + (family * 31 + i * 7) % 90);
    const promptLogprobs = scored ? 1 : null;
    return Array.from({ length: choices }, (_, choice) => tokenRequest(prompt, { ...rest, sampling: { ...sampling, seed }, choice, promptLogprobs }));
  })
);

const bitsOf = async (cluster: RunningCluster, request: TokenRequest) => {
  const { tokens, logprobs, prompt } = await run(cluster, request);
  return { tokens, logprobs, prompt };
};

/** All at once on one cluster, one after the other on the other. */
async function compare(one: Config, other: Config, options: { readonly runs: number; readonly seed: number; readonly most?: number }): Promise<void> {
  await withCluster(one, (together) =>
    withCluster(other, async (inTurn) => {
      await fc.assert(
        fc.asyncProperty(requests, async (all) => {
          const asked = all.slice(0, options.most);
          const answers = await Promise.all(asked.map((request) => bitsOf(together, request)));
          for (const [i, request] of asked.entries()) assertEquals(answers[i], await bitsOf(inTurn, request), `request ${i}`);
        }),
        { numRuns: options.runs, seed: options.seed, endOnFailure: true },
      );
      await freeAgain(together);
    }));
}

describe("a TPLA group that computes prompts among its ranks", () => {
  it("gives every request the bits of a prefill unit and the same group, however requests, chunks and steps are cut", () =>
    compare(
      alone({ prefill: { chunk: 24 }, decode: { maxBatch: 12 }, cache: { maxTokens: 1024 } }),
      apart({ prefill: { chunk: 64 } }),
      { runs: 4, seed: 1 },
    ));

  it("does so on plain processors, over four ranks and two slices, under the paper's scheme, and with μ and whole feed-forward blocks", async () => {
    await compare(alone({ device: "cpu" }), apart({ device: "cpu" }), { runs: 1, seed: 2, most: 4 });
    const cuts: NonNullable<Config["decode"]>[] = [{ ranks: 4, latentGroups: 2, halo: 8 }, { paper: true }, { mu: 0.9, halo: 0, wire: "f16" }];
    for (const [i, decode] of cuts.entries()) {
      await compare(alone({ decode }), apart({ decode: { ...decode, feedForward: "sharded" } }), { runs: 1, seed: 3 + i, most: 5 });
    }
  });

  for (const name of ["deepseek-v2-lite-tiny", "deepseek-v3-tiny", "mistral3-tiny"] satisfies Fixture[]) {
    it(`gives those bits for ${name}`, () => {
      const model = { model: fixtureDirectory(name), decode: { basis: "hadamard" } } as const;
      return compare(alone(model), apart(model), { runs: 1, seed: 7, most: 5 });
    });
  }
});

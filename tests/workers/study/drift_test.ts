import { describe, it } from "@std/testing/bdd";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Divergence } from "../../../core/tpla/divergence.ts";
import { type DriftOptions, measureDrift } from "../../../workers/study/drift.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { reportLeftOut, WHOLE } from "../../support/extent.ts";

const documents: string[] = JSON.parse(await Deno.readTextFile(`${ROOT}/tests/golden/public.json`)).slice(0, 2);
const base: DriftOptions = {
  model: fixtureDirectory("tiny-mla"),
  device: "wasm",
  documents,
  attention: "tpla",
  ranks: 2,
  basis: "balanced",
  lambda: 0.05,
  mu: 1,
  paper: false,
  limitTokens: 48,
};

describe("drift", () => {
  it("is nothing for exact ways of decoding", async () => {
    // Of so many tokens, ranks that share latents by tokens have several blocks.
    const shared = { ...base, attention: "dcp" as const, documents: documents.slice(0, 1), limitTokens: 170, prefix: 122 };
    for (const options of [{ ...base, attention: "mla" as const }, { ...base, halo: 128 }, { ...base, ranks: 1 }, shared, { ...shared, ranks: 3 }]) {
      const { kl, agreement, perplexity, tokens } = await measureDrift(options);
      assert(Math.abs(kl) < 1e-8, `KL ${kl}`);
      assertEquals([agreement, tokens], [1, 48]);
      assertAlmostEquals(perplexity.chosen, perplexity.exact, 1e-3);
    }
    // Ranks that keep different tokens attend to the same ones that an indexer chooses.
    for (const ranks of [2, 3]) {
      const { kl, agreement } = await measureDrift({ ...shared, ranks, model: fixtureDirectory("deepseek-v32-tiny") });
      assert(Math.abs(kl) < 1e-8 && agreement === 1, `KL ${kl} of ${ranks} ranks`);
    }
  });

  it("tells what index keys in eight bits cost, which others choose by", async () => {
    const sparse = { ...base, model: fixtureDirectory("deepseek-v32-tiny"), attention: "mla" as const, limitTokens: 96 };
    const [{ kl, bytes }, plain] = [await measureDrift({ ...sparse, indexDtype: "fp8" }), await measureDrift(sparse)];
    const { kl: halves } = await measureDrift({ ...sparse, indexDtype: "f16" });
    // Random weights choose among tokens of which none matters more than others: as many are swapped as keys are coarser.
    assert(kl > 0.01 && kl < 0.3 && halves < kl / 20, `KL ${kl}, in halves ${halves}`);
    // Of 16 values and a scale, 32 bytes in each of two layers instead of 64.
    assertEquals(plain.bytes.map((of) => of - 64), bytes);
    assert(Math.abs(plain.kl) < 1e-8, `KL ${plain.kl}`);
    await assertRejects(() => measureDrift({ ...base, indexDtype: "fp8" }), LatentmeshError, "caches no index keys");
  });

  it("is refused where no prediction is left to compare", async () => {
    for (const options of [{ prefix: 500 }, { prefix: 47 }, { limitTokens: 1 }, { documents: [""] }]) {
      const error = await assertRejects(() => measureDrift({ ...base, ...options }), LatentmeshError, "Nothing is left to compare");
      assertEquals(error.code, "invalid_config");
    }
    assertEquals((await measureDrift({ ...base, prefix: 46 })).tokens, 4);
  });

  it("is small with a halo, and reports what ranks cache", async () => {
    const { kl, widths } = await measureDrift({ ...base, halo: 16, prefix: 8 });
    assert(kl > 1e-5 && kl < 0.02, `KL ${kl}`);
    assertEquals(widths, [80, 96]);
    // By tokens within two latent groups: as TPLA drifts, with half of it cached on each rank.
    const within = await measureDrift({ ...base, halo: 16, attention: "dcp", ranks: 4, latentGroups: 2, prefix: 8 });
    assertAlmostEquals(within.kl, kl, 1e-6);
    assertEquals(within.widths, [40, 40, 48, 48]);
  });

  reportLeftOut("widths of one of two numbers of groups");
  it("is far smaller with the widths that the embedded model ships, on text that they were not chosen with", async () => {
    // As many values as the largest rank caches with one halo of 16.
    const groups = [{ ranks: 2, most: 96, less: 5 }, { ranks: 4, most: 64, less: 3 }];
    for (const { ranks, most, less } of WHOLE ? groups : groups.slice(0, 1)) {
      const long = { ...base, ranks, limitTokens: 160 };
      const [uniform, chosen] = [await measureDrift({ ...long, halo: 16 }), await measureDrift(long)];
      assertEquals(Math.max(...uniform.widths), most);
      assert(chosen.widths.every((width) => width === chosen.widths[0] && width <= most), `${chosen.widths}`);
      assert(chosen.kl > 0 && chosen.kl < uniform.kl / less, `KL ${chosen.kl}, with one halo ${uniform.kl}`);
      const within = await measureDrift({ ...long, attention: "dcp", ranks: 2 * ranks, latentGroups: ranks });
      assertAlmostEquals(within.kl, chosen.kl, 1e-6);
      assertEquals(within.widths, new Array(2 * ranks).fill(chosen.widths[0] / 2));
    }
  });

  it("tells what latents in eight bits cost by themselves, and that TPLA costs no more with them", async () => {
    const [alone, grouped, tpla] = [
      await measureDrift({ ...base, attention: "mla", ranks: 1, prefix: 8, cacheDtype: "q8" }),
      await measureDrift({ ...base, attention: "mla", prefix: 8, cacheDtype: "q8" }),
      await measureDrift({ ...base, prefix: 8, cacheDtype: "q8" }),
    ];
    assert(alone.kl > 1e-8 && alone.kl <= 5e-4, `KL ${alone.kl}`);
    assertAlmostEquals(grouped.kl, alone.kl, 1e-6);
    const { kl } = await measureDrift({ ...base, prefix: 8 });
    assert(tpla.kl !== kl && tpla.kl < kl + 5e-4, `KL ${tpla.kl} beside ${kl}`);
    assertEquals([alone.cacheDtype, alone.bytes, alone.widths], ["q8", [6 * (128 + 16 + 32)], [144]]);
  });

  it("is larger, but not by much, with the norms of the paper than with exact ones", async () => {
    const paper = await measureDrift({ ...base, prefix: 8, paper: true });
    const exactNorms = await measureDrift({ ...base, prefix: 8, basis: "pca", halo: 0 });
    assertEquals(paper.widths, [80, 80]);
    assert(paper.kl !== exactNorms.kl && paper.kl < 2 * exactNorms.kl + 0.01, `KL ${paper.kl} beside ${exactNorms.kl}`);
    const scaled = await measureDrift({ ...base, prefix: 8, basis: "pca", halo: 0, mu: 0.5 });
    assert(scaled.kl > 2 * exactNorms.kl, `KL ${scaled.kl} with half of the scores`);
  });

  it("refuses options that do not fit each other, and says what is missing", async () => {
    await assertRejects(() => measureDrift({ ...base, attention: "mla", latentGroups: 2 }), LatentmeshError, "keeps whole latents");
    await assertRejects(() => measureDrift({ ...base, paper: true, halo: 8 }), LatentmeshError, "the paper's scheme has none");
    await assertRejects(() => measureDrift({ ...base, paper: true, attention: "mla" }), LatentmeshError, "paper is about");
    await assertRejects(() => measureDrift({ ...base, paper: true, attention: "dcp" }), LatentmeshError, "paper is about");
    await assertRejects(() => measureDrift({ ...base, attention: "dcp", ranks: 1 }), LatentmeshError, "which has one each");
    await assertRejects(() => measureDrift({ ...base, attention: "dcp", ranks: 4, latentGroups: 3 }), LatentmeshError, "does not divide");
    await assertRejects(() => measureDrift({ ...base, ranks: 3, latentGroups: 2 }), LatentmeshError, "does not divide");
    await assertRejects(() => measureDrift({ ...base, model: fixtureDirectory("deepseek-v3-tiny") }), LatentmeshError, "deno task calibrate");
  });
});

describe("Divergence", () => {
  it("averages KL, agreement and likelihood", () => {
    const divergence = new Divergence();
    const [p, q] = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]];
    const logits = (probabilities: number[]) => Float32Array.from(probabilities, (value) => Math.log(value) + 3);
    divergence.add(logits(p), logits(q), 1);
    divergence.add(logits(p), logits(p), null);
    assertAlmostEquals(divergence.kl, (0.5 * Math.log(0.5 / 0.2) + 0.3 * Math.log(0.3 / 0.6)) / 2, 1e-6);
    assertEquals(divergence.agreement, 0.5);
    assertAlmostEquals(divergence.perplexity.exact, 1 / 0.3, 1e-5);
    assertAlmostEquals(divergence.perplexity.chosen, 1 / 0.6, 1e-5);
  });
});

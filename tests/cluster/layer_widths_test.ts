/**
 * A cluster whose model has been calibrated with widths by layer: what it generates is tensor-parallel latent attention by definition, and stays so when a rank is killed.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { readModelPackage } from "../../core/model_package.ts";
import { layerBases } from "../../core/tpla/basis.ts";
import { readBasis, writeBasis } from "../../core/tpla/basis_file.ts";
import { latentColumns } from "../../core/tpla/latent_columns.ts";
import { partition } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../core/tpla/plan.ts";
import type { Config } from "../../cluster/config/config_type.ts";
import { Random } from "../../bench/support/random.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { calibrate } from "../../workers/study/calibrate.ts";
import { until } from "../../bench/support/until.ts";
import { withCluster, withWorkersHere } from "../support/cluster.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { generate } from "../support/generation.ts";
import { ReferenceModel } from "../support/reference_model.ts";

const FIXTURE = fixtureDirectory("deepseek-v3-tiny");
const WIDTHS = [16, 24, 32];
const [PROMPT, GENERATED] = [70, 30];
/** Of logits: a token that is so much better than all others is chosen whoever computes. */
const CLEAR = 1e-3;

describe("a cluster with widths by layer", () => {
  let model: string;
  const random = new Random();
  const prompt = Array.from({ length: PROMPT }, () => 3 + random.below(200));

  beforeAll(async () => {
    model = await Deno.makeTempDir();
    for await (const { name, isFile } of Deno.readDir(FIXTURE)) if (isFile) await Deno.copyFile(`${FIXTURE}/${name}`, `${model}/${name}`);
    // The reference rotates as models do that were not stretched.
    const spec = { ...JSON.parse(await Deno.readTextFile(`${model}/config.json`)), rope_parameters: { rope_type: "default", rope_theta: 10000 } };
    await Deno.writeTextFile(`${model}/config.json`, JSON.stringify(spec));
    const basis = await calibrate({ model, device: "cpu", documents: [prompt], tokens: PROMPT });
    const chosen = [{ latentGroups: 2, widths: WIDTHS, kl: 0, uniformKl: 0 }];
    await Deno.writeFile(`${model}/basis.safetensors`, writeBasis({ ...basis, chosen }));
  });
  afterAll(() => Deno.remove(model, { recursive: true }));

  const config = (decode: Config["decode"] = {}): Config => ({ model, decode: { ranks: 2, ...decode }, cache: { maxTokens: 1024 } });
  const ask = { prompt, maxTokens: GENERATED, ignoreEos: true } as const;

  it("generates what is best by definition, caches and hands over what the formulas say, and says how it is cut", async () => {
    using files = new DirectoryFiles(model);
    const { spec, chosenWidths } = await readModelPackage(files);
    assertEquals(chosenWidths.map(({ widths }) => widths), [WIDTHS]);
    const shapes = partition(spec, { ranks: 2, latentGroups: 2, halo: 8, widths: WIDTHS });
    let tokens: readonly number[] = [];
    await withWorkersHere(config(), async (cluster) => {
      assert(cluster.summary.includes("tpla, 2 latent slices, 16 to 32 directions of each layer as calibrated"), cluster.summary);
      tokens = (await generate(cluster, { ...ask, speculate: "off" })).tokens;
      const [first, second, prefill] = (await cluster.status()).map(({ stats }) => stats);
      assertEquals([first, second].map((stats) => stats.cacheBytesPerToken), shapes.map((shape) => cacheBytesPerToken(spec, shape, "f32")));
      assertEquals(prefill.handoffBytes, PROMPT * handoffBytesPerToken(spec, shapes, "f32"));
    });
    const bases = layerBases(await readBasis((await files.open("basis.safetensors"))!), "balanced");
    const columns = WIDTHS.map((width) => latentColumns(spec.latentWidth, { latentGroups: 2, halo: 0, width })!);
    const { logits } = (await ReferenceModel.open(files, spec)).run([...prompt, ...tokens], { from: PROMPT, bases, columns });
    let clear = 0;
    tokens.forEach((token, i) => {
      const row = logits[PROMPT - 1 + i];
      const best = row.reduce((best, value, id) => value > row[best] ? id : best, 0);
      if (row[best] - row[token] > CLEAR) throw new Error(`token ${i} is ${token} where ${best} is better by ${row[best] - row[token]}`);
      if (row.every((value, id) => id === best || row[best] - value > CLEAR)) clear++;
    });
    assert(clear > GENERATED / 2, `${clear} of ${GENERATED} tokens are better than others by more than rounding`);
  });

  it("gives the same tokens where a rank is killed, where ranks compute prompts themselves, and in eight bits the same either way", async () => {
    const tokensOf = async (change: Config, kill = false) => {
      const tokens: number[] = [];
      await (kill ? withCluster : withWorkersHere)({ ...config(), ...change }, async (cluster) => {
        const victim = (await cluster.status()).find(({ unit }) => unit === "decode-0");
        for await (const piece of cluster.generate(ask)) {
          if (kill && tokens.length < 10 && tokens.length + piece.tokens.length >= 10) Deno.kill(victim!.pid, "SIGKILL");
          tokens.push(...piece.tokens);
        }
        await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0));
      });
      return tokens;
    };
    const alone: Config = { decode: { ranks: 2, feedForward: "replicated" }, prefill: { workers: 0 } };
    const expected = await tokensOf({});
    assertEquals(await tokensOf({}, true), expected);
    const whole = await tokensOf({ decode: { ranks: 2, feedForward: "replicated" } });
    assertEquals(await tokensOf(alone), whole);
    const cache = { maxTokens: 1024, dtype: "q8" } as const;
    assertEquals(await tokensOf({ ...alone, cache }), await tokensOf({ decode: { ranks: 2, feedForward: "replicated" }, cache }));
  });
});

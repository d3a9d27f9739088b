/**
 * A cluster of a model that is on no disk: every worker makes its part, and together they are the model that one process makes.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Engine } from "../../mod.ts";
import { withCluster } from "../support/cluster.ts";

const model = "synthetic:tiny?layers=2&seed=5";

async function greedy(served: Pick<Engine, "generate">): Promise<string> {
  let text = "";
  for await (const piece of served.generate({ prompt: "It was a", maxTokens: 24 })) text += piece.text;
  return text;
}

describe("a cluster of a synthetic model", () => {
  it("answers as one process does where attention is exact, and in its own way where the latent is cut", async () => {
    const engine = await Engine.load({ model, device: "cpu" });
    const expected = await greedy(engine);
    await engine.close();
    await withCluster({ model, decode: { ranks: 2, attention: "mla" } }, async (cluster) => assertEquals(await greedy(cluster), expected));
    await withCluster({ model, decode: { ranks: 2 } }, async (cluster) => assert((await greedy(cluster)).length > 0));
  });
});

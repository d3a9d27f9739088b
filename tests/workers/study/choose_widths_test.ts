import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Random } from "../../../bench/support/random.ts";
import { calibrate } from "../../../workers/study/calibrate.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const model = fixtureDirectory("deepseek-v3-tiny");
const random = new Random();
const documents = Array.from({ length: 4 }, () => Array.from({ length: 80 }, () => 3 + random.below(200)));
/** Three layers whose latents have 32 directions, and rotated keys of 8. */
const [LAYERS, LATENT, ROPE] = [3, 32, 8];
const options = { model, device: "wasm", documents, tokens: 1000 } as const;

describe("a calibration with a budget", () => {
  it("chooses widths within it that drift no further than what all layers share", async () => {
    const told: number[] = [];
    const budgets = [{ latentGroups: 2, values: 32 }, { latentGroups: 4, values: 24 }, { latentGroups: 2, values: LATENT + ROPE }];
    const onMeasured = ({ done, total }: { done: number; total: number }) => told.push(done / total);
    const { chosen } = await calibrate({ ...options, budgets, onMeasured });
    assert(told.length > 6 && told.every((part, i) => part <= 1 && part > (told[i - 1] ?? 0)), "it tells how far it is");
    for (const { latentGroups, widths, kl, uniformKl } of chosen) {
      const { values } = budgets.find((budget) => budget.latentGroups === latentGroups)!;
      assertEquals(widths.length, LAYERS);
      assert(widths.reduce((sum, width) => sum + width + ROPE, 0) <= Math.max(values, LATENT + ROPE) * LAYERS, `${widths} of ${values}`);
      assert(widths.every((width) => width * latentGroups >= LATENT && width <= LATENT), `${widths}`);
      assert(kl <= uniformKl, `${kl} where one width or one halo has ${uniformKl}`);
    }
    const [narrow] = chosen.filter(({ latentGroups }) => latentGroups === 2);
    assert(narrow.kl > 0 && narrow.widths.reduce((a, b) => a + b) <= (32 - ROPE) * LAYERS, "one layer is wider than others");
    const [all] = chosen.filter(({ kl }) => Math.abs(kl) < 1e-8);
    assert(all !== undefined, "with room for everything nothing is lost");
  });

  it("is refused where it is less than ranks need to have the latent between them, or texts are none", async () => {
    const refused = (change: Partial<Parameters<typeof calibrate>[0]>, says: string) =>
      assertRejects(() => calibrate({ ...options, budgets: [{ latentGroups: 2, values: 32 }], ...change }), LatentmeshError, says);
    await refused({ budgets: [{ latentGroups: 2, values: 23 }] }, "it must be 24 … 40");
    await refused({ budgets: [{ latentGroups: 2, values: 41 }] }, "it must be 24 … 40");
    await refused({ documents: documents.slice(0, 1) }, "two documents of 64 tokens, and there are 1");
  });
});

import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { Random } from "../../../bench/support/random.ts";
import { LayerMoments } from "../../../workers/study/moments/layer_moments.ts";
import { MomentThreads } from "../../../workers/study/moments/moment_threads.ts";

const SIZES = { hiddenSize: 24, heads: 3, latentWidth: 16, ropeWidth: 4, nopeWidth: 8, valueWidth: 6, latentNormEps: 1e-6 };
const LAYERS = 5;

function weightsOf(layer: number) {
  const random = new Random(100 + layer);
  const { hiddenSize, heads, latentWidth, nopeWidth, valueWidth } = SIZES;
  return {
    gain: random.normals(latentWidth),
    up: random.normals(heads * (nopeWidth + valueWidth) * latentWidth),
    output: random.normals(hiddenSize * heads * valueWidth),
  };
}

function computed(layer: number, step: number) {
  const random = new Random(layer * 10 + step);
  const rows = 20 + step;
  const { heads, latentWidth, ropeWidth, nopeWidth } = SIZES;
  return { kv: random.normals(rows * (latentWidth + ropeWidth)), q: random.normals(rows * heads * (nopeWidth + ropeWidth)), rows };
}

describe("threads that sum moments", () => {
  it("give what one sums by itself, to the bit, whichever layers are beside each other", async () => {
    using threads = new MomentThreads(SIZES, LAYERS);
    const layers = [...Array(LAYERS).keys()];
    for (const step of [0, 1, 2]) await Promise.all(layers.map((layer) => threads.add(layer, computed(layer, step))));
    const results = await Promise.all(layers.map((layer) => threads.finish(layer, weightsOf(layer))));
    for (const layer of layers) {
      const alone = new LayerMoments(SIZES);
      for (const step of [0, 1, 2]) {
        const { kv, q, rows } = computed(layer, step);
        alone.add(kv, q, rows);
      }
      assertEquals(results[layer], alone.finish(weightsOf(layer)));
    }
  });

  it("say what goes wrong to whom it concerns, and leave nobody waiting when they end", async () => {
    const threads = new MomentThreads(SIZES, LAYERS);
    await assertRejects(() => threads.finish(3, weightsOf(3)), Error, "Cannot calibrate");
    await threads.add(0, computed(0, 0));
    const waiting = threads.finish(0, weightsOf(0));
    threads[Symbol.dispose]();
    await assertRejects(() => waiting, Error, "given up");
    await assertRejects(() => threads.add(0, computed(0, 1)), Error, "given up");
  });
});

import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { ceilDiv, floatBits } from "../../core/numeric.ts";
import { gumbel } from "../../core/random.ts";
import { candidates } from "../../kernels/candidates/candidates.ts";
import { LIST_WORDS, readCandidates } from "../../core/sampling/candidates.ts";
import { CHUNK_TOKENS } from "../../kernels/candidates/layout.ts";
import type { Device } from "../../kernels/device/device.ts";
import { mergeCandidates } from "../../kernels/merge_candidates/merge_candidates.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

interface Draw {
  readonly key: number;
  readonly position: number;
  readonly temperature: number;
  readonly target: number;
}

async function select(device: Device, logits: Float32Array<ArrayBuffer>, vocabulary: number, draws: readonly Draw[], count: number) {
  const rows = draws.length;
  const sampling = Uint32Array.from(draws.flatMap(({ key, position, temperature, target }) => [key, position, floatBits(1 / temperature), target]));
  const chunks = ceilDiv(vocabulary, CHUNK_TOKENS);
  const first = await runKernel(device, candidates, { vocabulary }, { logits, sampling, lists: { poison: rows * chunks * LIST_WORDS } }, {
    rows,
    count,
    draw: 1,
    first_token: 0,
  });
  const { lists } = await runKernel(
    device,
    mergeCandidates,
    { vocabulary },
    { logits, sampling, chunk_lists: first.lists.u32, lists: { poison: rows * LIST_WORDS } },
    { rows, count, first_token: 0 },
  );
  return draws.map((_, row) => readCandidates(new Uint8Array(lists.u32.buffer), row, count));
}

describeOnDevices("candidates", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const [vocabulary, count] of [[1, 1], [61, 20], [1025, 64], [5000, 1], [140_000, 2]] as const) {
    it(`finds the best ${count} of ${vocabulary}, both log-sum-exps and the drawn token`, async () => {
      const random = new Random();
      const draws = [0.7, 1, 1.9].map((temperature, i) => ({
        key: random.below(2 ** 32),
        position: 5 + i,
        temperature,
        target: (i * 977) % vocabulary,
      }));
      const logits = random.normals(draws.length * vocabulary, 4);
      const lists = await select(device, logits, vocabulary, draws, count);
      draws.forEach(({ key, position, temperature, target }, row) => {
        const values = [...logits.subarray(row * vocabulary, (row + 1) * vocabulary)];
        const list = lists[row];
        const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
        assertEquals([...list.tokens].slice(0, order.length), order);
        assertEquals([...list.logits].slice(0, order.length), order.map((token) => values[token]));
        const logSumExp = (scale: number) => Math.log(values.reduce((sum, value) => sum + Math.exp(value * scale), 0));
        assertAlmostEquals(list.logSumExp, logSumExp(1), 1e-5);
        assertAlmostEquals(list.temperedLogSumExp, logSumExp(1 / temperature), 1e-4);
        assertEquals(list.targetLogit, values[target]);
        const scores = values.map((value, token) => value / temperature + gumbel(key, position, token));
        assertAlmostEquals(list.drawnScore, scores.reduce((a, b) => Math.max(a, b)), 1e-4);
        assertAlmostEquals(scores[list.drawnToken], list.drawnScore, 1e-4);
      });
    });
  }

  it("orders equal logits by token", async () => {
    const [list] = await select(device, new Float32Array(2100), 2100, [{ key: 1, position: 0, temperature: 1, target: 0 }], 5);
    assertEquals([...list.tokens], [0, 1, 2, 3, 4]);
  });
});

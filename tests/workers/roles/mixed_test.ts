import { it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { SoloCollective } from "../../../workers/collective/collective.ts";
import { MixedRank } from "../../../workers/roles/mixed.ts";
import type { LayersBehind, PromptChunk } from "../../../workers/roles/prompt_chunk.ts";
import { Random } from "../../../bench/support/random.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { loadMixedModels } from "../../support/fixtures.ts";

const LAYERS = 3;
const QUERY = { key: 1, position: 0, inverseTemperature: 1, plain: 4, adjusted: 0, base: 0, changes: [], mask: null, draw: false };
const CHANGES = { forks: [], grow: [] };

async function createRank(device: Device): Promise<MixedRank> {
  const rank = await MixedRank.create(
    await loadMixedModels(device, "deepseek-v2-lite-tiny", { limits: { prefillRows: 16, decodeRows: 2, window: 32, logitRows: 4 } }),
  );
  await rank.reset([new SoloCollective()]);
  return rank;
}

/** Layers of a chunk of prompt number `sequence`, whose tokens its number tells. */
function chunkOf(
  sequence: number,
  [start, end, length]: readonly [start: number, end: number, length: number],
  block: number,
  layers: PromptChunk["layers"] = { first: 0, end: LAYERS },
): PromptChunk {
  return {
    sequence,
    start,
    layers,
    awaited: (start + layers.first) % 2 === 0,
    last: end === length,
    promptLogprobs: null,
    following: null,
    tokens: Array.from({ length: layers.first === 0 ? end - start : 0 }, (_, i) => 3 + (sequence * 37 + (start + i) * 11) % 90),
    queries: end === length ? [{ ...QUERY, position: length }] : [],
    begin: start === 0 && layers.first === 0 ? { length: end, blocks: [block], target: null, stays: true } : null,
  };
}

describeModelsOnDevices("a mixed rank", (kind) => {
  const onDevice = async (test: (device: Device) => Promise<void>) => {
    const device = await openTestDevice(kind);
    try {
      await test(device);
    } finally {
      await device.close();
    }
  };

  it("computes layers of a chunk and steps of others in turns, with the same bits as one after the other", () =>
    onDevice(async (device) => {
      const rank = await createRank(device);
      const stepped = async (position: number) => {
        const row = { sequence: 1, token: 5 + position % 7, position };
        return (await rank.step([row], [{ ...QUERY, position: position + 1 }], CHANGES))[0];
      };
      const length = 40;
      const chunks = [[0, 16], [16, 29], [29, 40]] as const;
      const generate = async (parts: () => readonly number[]) => {
        const told: unknown[] = [...(await rank.run(chunkOf(1, [0, 10, 10], 0))).answers];
        const first: unknown[] = [];
        let position = 10;
        for (const [start, end] of chunks) {
          for (const [i, layer] of parts().entries()) {
            const before = i === 0 ? 0 : parts()[i - 1];
            const { answers } = await rank.run(chunkOf(2, [start, end, length], 1, { first: before, end: layer }));
            if (layer === LAYERS) first.push(...answers);
            else assertEquals(answers, [], "nothing is known before the last layer");
            for (let steps = position % 2; steps >= 0; steps--) told.push(await stepped(position++));
          }
        }
        while (position < 40) told.push(await stepped(position++));
        first.push(...await rank.step([{ sequence: 2, token: 9, position: length }], [{ ...QUERY, position: length + 1 }], CHANGES));
        for (const sequence of [1, 2]) rank.close(sequence);
        return { told, first };
      };
      const whole = await generate(() => [LAYERS]);
      assertEquals(await generate(() => [1, 2, 3]), whole);
      assertEquals(await generate(() => [2, 3]), whole);
    }));

  it("computes layers behind steps with the same bits, and refuses those that something is asked about", () =>
    onDevice(async (device) => {
      const rank = await createRank(device);
      const length = 40;
      const run = async (behind: boolean) => {
        const told: unknown[] = [...(await rank.run(chunkOf(1, [0, 10, 10], 0))).answers];
        let position = 10;
        const stepped = async (layers: PromptChunk["layers"] | null, start: number) => {
          const row = { sequence: 1, token: 5 + position % 7, position };
          const next = layers === null || !behind ? null : { sequence: 2, start, layers };
          told.push(...await rank.step([row], [{ ...QUERY, position: ++position }], CHANGES, next));
          return layers !== null && !behind;
        };
        for (const [start, end] of [[0, 16], [16, 32], [32, 40]] as const) {
          const part = (first: number, end_: number) => chunkOf(2, [start, end, length], 1, { first, end: end_ });
          await rank.run(part(0, 1));
          if (await stepped({ first: 1, end: 2 }, start)) await rank.run(part(1, 2));
          const last = end === length;
          if (await stepped(last ? null : { first: 2, end: 3 }, start) || last) told.push(...(await rank.run(part(2, 3))).answers);
        }
        await stepped(null, 0);
        for (const sequence of [1, 2]) rank.close(sequence);
        return told;
      };
      assertEquals(await run(true), await run(false));
      await rank.run(chunkOf(1, [0, 10, 10], 0));
      const row = (position: number) => [{ sequence: 1, token: 5, position }];
      const refused = (behind: LayersBehind, says: string, position: number) =>
        assertRejects(() => rank.step(row(position), [{ ...QUERY, position: position + 1 }], CHANGES, behind), LatentmeshError, says);
      await refused({ sequence: 2, start: 0, layers: { first: 1, end: 2 } }, "Prompt 2 has not begun", 10);
      await rank.run(chunkOf(2, [0, 8, 8], 1, { first: 0, end: 1 }));
      await refused({ sequence: 2, start: 0, layers: { first: 2, end: 3 } }, "are not next, but layer 1 of 8 tokens after 0", 11);
      await refused({ sequence: 2, start: 0, layers: { first: 1, end: 3 } }, "cannot be computed behind a step", 12);
      // What is waited for there is all that was submitted.
      const unasked = () => rank.step(row(13), [], CHANGES, { sequence: 2, start: 0, layers: { first: 1, end: 2 } });
      await assertRejects(unasked, LatentmeshError, "behind a step that asks for nothing");
      await rank.step(row(13), [{ ...QUERY, position: 14 }], CHANGES, { sequence: 2, start: 0, layers: { first: 1, end: 2 } });
    }));

  it("refuses layers that are not next, by name, and forgets a chunk whose prompt is closed", () =>
    onDevice(async (device) => {
      const rank = await createRank(device);
      const chunk = chunkOf(1, [0, 10, 10], 0);
      const refused = (layers: PromptChunk["layers"], says: string, of = chunk) =>
        assertRejects(() => rank.run({ ...of, begin: null, layers }), LatentmeshError, says);
      await assertRejects(() => rank.run({ ...chunk, layers: { first: 1, end: 2 } }), LatentmeshError, "are not next, but layer 0 of a chunk");
      rank.close(1);
      await rank.run({ ...chunk, layers: { first: 0, end: 1 } });
      for (const layers of [{ first: 0, end: 1 }, { first: 2, end: 3 }, { first: 1, end: 1 }, { first: 1, end: 4 }]) {
        await refused(layers, "are not next, but layer 1 of 10 tokens after 0");
      }
      await assertRejects(() => rank.run(chunkOf(2, [0, 4, 4], 1)), LatentmeshError, "are not next");
      rank.close(2);
      rank.close(1);
      const { answers } = await rank.run(chunkOf(3, [0, 4, 4], 0));
      assertEquals(answers.length, 1);
      // An epoch that begins forgets it, too.
      await rank.run(chunkOf(4, [0, 4, 4], 1, { first: 0, end: 2 }));
      await rank.reset([new SoloCollective()]);
      assertEquals((await rank.run(chunkOf(5, [0, 4, 4], 1))).answers.length, 1);
    }));

  it("gives the same bits in turns of any length, drawn at random", () =>
    onDevice(async (device) => {
      const rank = await createRank(device);
      const random = new Random(3);
      const run = async (cut: boolean) => {
        const answers: unknown[] = [];
        for (let start = 0; start < 48;) {
          const end = Math.min(48, start + 1 + random.below(16));
          for (let first = 0; first < LAYERS;) {
            const next = cut ? first + 1 + random.below(LAYERS - first) : LAYERS;
            answers.push(...(await rank.run(chunkOf(7, [start, end, 48], 0, { first, end: next }))).answers);
            first = next;
          }
          start = end;
        }
        rank.close(7);
        return answers;
      };
      const expected = await run(false);
      for (let i = 0; i < (kind === "deno" ? 1 : 4); i++) assertEquals(await run(true), expected);
    }));
});

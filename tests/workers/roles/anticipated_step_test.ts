/**
 * What is encoded ahead of a step is what the step records, and changes nothing that it gives.
 */
import { BLOCK_TOKENS } from "../../../core/cache/blocks.ts";
import { isHost } from "../../../core/device_kind.ts";
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { LogitsAnswer } from "../../../core/generation.ts";
import type { QueryFrame, TokenRow } from "../../../core/wire/queries.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { SoloCollective } from "../../../workers/collective/collective.ts";
import { LocalExchange } from "../../../workers/collective/local_exchange.ts";
import { DecodeRank, type StepChanges } from "../../../workers/roles/decode.ts";
import { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import { MixedRank } from "../../../workers/roles/mixed.ts";
import { anticipatedStep } from "../../../workers/roles/anticipated_step.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { loadMixedModels, loadModel } from "../../support/fixtures.ts";
import { Random } from "../../../bench/support/random.ts";

const MODEL = "deepseek-v2-lite-tiny";

/** What is asked of a row: the model's own logits or, of the sequence with this number, also changed ones. */
function queryOf({ sequence, position }: TokenRow, changed: number): QueryFrame {
  const adjusted = sequence === changed;
  const changes = adjusted ? Array.from({ length: 1 + position % 3 }, (_, token) => ({ token, repetition: 1, addend: -1 })) : [];
  return {
    key: sequence,
    position: position + 1,
    inverseTemperature: 1,
    plain: 3,
    adjusted: adjusted ? 2 : 0,
    base: 0,
    changes,
    mask: null,
    draw: true,
  };
}

/** One step of a script; the rows' tokens are made up. */
interface ScriptStep extends StepChanges {
  readonly close: readonly number[];
  readonly open: readonly number[];
  readonly rows: readonly TokenRow[];
  /** Whether it has more or fewer rows than the one before; which sequences they belong to does not matter. */
  readonly changed: boolean;
}

/** Steps in which sequences come and go, and grow over the ends of blocks. */
function script(steps: number): ScriptStep[] {
  const random = new Random();
  const lengths = new Map<number, number>();
  let before = 0;
  return Array.from({ length: steps }, (_, step): ScriptStep => {
    const close = step % 11 === 10 ? [...lengths.keys()].slice(0, 1) : [];
    for (const id of close) lengths.delete(id);
    const open = step === 0 ? [0, 1] : step % 7 === 6 && lengths.size < 3 ? [step] : [];
    for (const id of open) lengths.set(id, 0);
    const grow = [...lengths].filter(([, length]) => length % BLOCK_TOKENS === 0).map(([sequence, length]) => ({
      sequence,
      blocks: [(sequence * 2 + length / BLOCK_TOKENS) % 16],
    }));
    const rows = [...lengths].map(([sequence, position]): TokenRow => ({ sequence, token: 3 + random.below(250), position }));
    for (const [id, length] of lengths) lengths.set(id, length + 1);
    const changed = rows.length !== before;
    before = rows.length;
    return { close, open, forks: [], grow, rows, changed };
  });
}

/** Runs a script on ranks that each have a device. @returns the answers of the first */
async function run(devices: readonly Device[], steps: readonly ScriptStep[], changed: number): Promise<LogitsAnswer[][]> {
  const exchange = new LocalExchange(devices.length);
  const ranks = await Promise.all(devices.map(async (device, i) => {
    const rank = await DecodeRank.create([await loadModel(device, MODEL, { ranks: devices.length })]);
    await rank.reset([devices.length === 1 ? new SoloCollective() : exchange.rank(i)]);
    return rank;
  }));
  const answers: LogitsAnswer[][] = [];
  for (const { close, open, rows, forks, grow } of steps) {
    const queries = rows.map((row) => queryOf(row, changed));
    const [first] = await Promise.all(ranks.map((rank) => {
      for (const sequence of close) rank.close(sequence);
      for (const sequence of open) rank.open({ sequence, tokens: 0, from: 0, blocks: [] });
      return rank.step(rows, queries, { forks, grow });
    }));
    answers.push(first);
  }
  return answers;
}

/** Opens devices that encode ahead, and one that does not. */
async function withDevices(kind: Device["kind"], count: number, body: (ahead: Device[], plain: Device[]) => Promise<void>): Promise<void> {
  const devices = await Promise.all(Array.from({ length: 2 * count }, () => openTestDevice(kind)));
  const [ahead, plain] = [devices.slice(0, count), devices.slice(count)];
  for (const device of plain) device.anticipate = () => {};
  try {
    await body(ahead, plain);
  } finally {
    for (const device of devices) await device.close();
  }
}

describe("the step that follows", () => {
  const [a, b] = [new CachedSequence(0, 0, 0), new CachedSequence(8, 1, 0)];

  it("has the rows that were asked about, one position further", () => {
    const rows = [{ token: 5, position: 9, sequence: a }, { token: 6, position: 10, sequence: a }, { token: 7, position: 3, sequence: b }];
    assertEquals(anticipatedStep({ phase: "prefill", rows }, 2, 100)?.rows.map(({ position, sequence }) => [position, sequence]), [[11, a], [4, b]]);
    assertEquals(anticipatedStep({ phase: "decode", rows }, 2, 100)?.phase, "decode");
  });

  it("is none where nothing is asked, or a context ends", () => {
    const rows = [{ token: 5, position: 9, sequence: a }];
    assertEquals(anticipatedStep({ phase: "decode", rows }, 0, 100), null);
    assertEquals(anticipatedStep({ phase: "decode", rows }, 1, 10), null);
    assertEquals(anticipatedStep({ phase: "decode", rows }, 1, 11)?.rows.length, 1);
  });
});

describeModelsOnDevices("anticipating steps", (kind) => {
  // Dawn on a software driver takes minutes for a model's first step.
  if (kind === "dawn") return;
  const ahead = (count: number) => isHost(kind) ? 0 : count;

  it("foresees all steps of a rank alone but those of more or fewer rows, with the same answers", () =>
    withDevices(kind, 1, async ([device], plain) => {
      const steps = script(60);
      const before = { ...device.counters };
      assertEquals(await run([device], steps, -1), await run(plain, steps, -1));
      const changes = steps.filter(({ changed }) => changed).length;
      assertEquals(device.counters.submissionsAhead - before.submissionsAhead, ahead(steps.length - changes));
      // Before the first step, nothing was said.
      assertEquals(device.counters.submissionsUnforeseen - before.submissionsUnforeseen, ahead(changes - 1));
      assertEquals(plain[0].counters.submissionsAhead, 0);
    }));

  it("foresees what a rank submits between exchanges, with the same answers", () =>
    withDevices(kind, 2, async (devices, plain) => {
      const steps = script(20);
      // Changed logits are asked for after the model's own, in a submission of their own.
      assertEquals(await run(devices, steps, 0), await run(plain, steps, 0));
      const changes = steps.filter(({ changed }) => changed).length;
      for (const { counters: { submissions, submissionsAhead, submissionsUnforeseen } } of devices) {
        const later = steps.filter(({ rows }) => rows.some(({ sequence }) => sequence === 0)).length;
        assertEquals(submissionsAhead, ahead(submissions - later - changes));
        assertEquals(submissionsUnforeseen, ahead(changes - 1));
      }
    }));

  it("foresees every step of a generation, the first one included", () =>
    withDevices(kind, 1, async ([device], [plain]) => {
      const query = { key: 1, inverseTemperature: 1, plain: 2, adjusted: 0, base: 0, changes: [], mask: null, draw: false };
      const generate = async (device: Device) => {
        const rank = await MixedRank.create(await loadMixedModels(device, MODEL));
        await rank.reset([new SoloCollective()]);
        const tokens = Array.from({ length: 100 }, (_, i) => 3 + i);
        const begin = { length: 70, blocks: [0, 1], target: null, stays: true };
        const chunk = {
          sequence: 1,
          start: 0,
          layers: { first: 0, end: 3 },
          last: true,
          awaited: true,
          promptLogprobs: null,
          following: null,
          tokens,
          queries: [{ ...query, position: 100 }],
          begin,
        };
        const answers = [...(await rank.run(chunk)).answers];
        for (let i = 0; i < 28; i++) {
          const row = { sequence: 1, token: 7 + i, position: 100 + i };
          answers.push(...await rank.step([row], [{ ...query, position: 101 + i }], { forks: [], grow: [] }));
        }
        rank.close(1);
        return answers;
      };
      assertEquals(await generate(device), await generate(plain));
      assertEquals(device.counters.submissionsAhead, ahead(28));
      assertEquals(device.counters.submissionsUnforeseen, 0);
    }));
});

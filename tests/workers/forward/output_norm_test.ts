/**
 * Experts whose output is normalised: the sum over experts and ranks, whichever way ranks' parts come.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { specFor } from "../../../core/model/mtp.ts";
import type { ModelSpec } from "../../../core/model/spec.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { partition, UNCUT } from "../../../core/tpla/partition.ts";
import { addInto, type Collective } from "../../../workers/collective/collective.ts";
import { LocalExchange } from "../../../workers/collective/local_exchange.ts";
import { Model } from "../../../workers/forward/model.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { RankForward } from "../../../workers/roles/rank.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { relativeError } from "../../support/compare.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { readGolden, TEST_LIMITS } from "../../support/fixtures.ts";

const PROMPT = 30;
const LENGTH = 36;

async function load(device: Device, ranks: number, change: (spec: ModelSpec) => ModelSpec = (spec) => spec): Promise<Model[]> {
  using files = new DirectoryFiles(fixtureDirectory("axk1-tiny"));
  const checkpoint = await Checkpoint.open(files);
  const spec = change(parseModelConfig((await files.text("config.json"))!, "axk1-tiny"));
  const models: Model[] = [];
  for (const shape of partition(spec, { ...UNCUT, ranks })) {
    const weights = await loadWeights(device, checkpoint, spec, { weights: "keep", shard: { shape, bases: null } });
    models.push(
      await Model.create(device, weights, {
        group: { ...ALONE, rank: shape.rank, ranks },
        cacheDtype: "f32",
        maxTokens: 256,
        maxContext: 256,
        maxSequences: 1,
        limits: TEST_LIMITS,
      }),
    );
  }
  return models;
}

/** The same exchange, whose parts are added before they come back. */
function summing(collective: Collective): Collective {
  let own = new Uint8Array(0);
  return {
    ...collective,
    input: (values) => own = collective.input(values),
    async exchange(values) {
      const exchanged = await collective.exchange(values);
      const parts = "parts" in exchanged ? exchanged.parts.map((part) => part!) : [];
      const [first, ...others] = parts.toSpliced(collective.rank, 0, own).map((part) => new Float32Array(part.buffer, part.byteOffset, values));
      const sum = first.slice();
      for (const other of others) addInto(sum, other);
      return { sum };
    },
  };
}

/** Logits of the tokens behind a prompt: [rank][row × vocabulary of the rank]. */
async function logitsOf(models: readonly Model[], tokens: readonly number[], ends: readonly Collective[]): Promise<Float32Array[]> {
  return await Promise.all(models.map(async (model, rank) => {
    const forward = await RankForward.create(model, ends[rank]);
    const sequence = model.cache.open(LENGTH);
    model.cache.grow(sequence, LENGTH);
    const rows = (from: number, end: number) => tokens.slice(from, end).map((token, i) => ({ token, position: from + i, sequence }));
    await forward.run({ phase: "prefill", rows: rows(0, PROMPT) });
    sequence.length = PROMPT;
    const logits: number[] = [];
    for (let position = PROMPT; position < LENGTH; position += 2) {
      await forward.run({ phase: "decode", rows: rows(position, position + 2) });
      sequence.length += 2;
      model.head.recordLogits("decode", 0, 2);
      logits.push(...await model.head.logits(2));
    }
    model.cache.close(sequence);
    await forward.destroy();
    return Float32Array.from(logits);
  }));
}

const alone = (ranks: number) => {
  const exchange = new LocalExchange(ranks);
  return Array.from({ length: ranks }, (_, rank) => exchange.rank(rank));
};

describeModelsOnDevices("experts whose output is normalised", (kind) => {
  it("give the same bits whether ranks' parts come one by one or added", async () => {
    const device = await openTestDevice(kind);
    const { inputs: [tokens] } = await readGolden("axk1-tiny");
    const models = await load(device, 3);
    const logits = await logitsOf(models, tokens, alone(3));
    assert(logits.flatMap((rank) => [...rank]).every(Number.isFinite));
    assertEquals(await logitsOf(models, tokens, alone(3).map(summing)), logits);
    await device.close();
  });
});

describe("experts whose output is normalised", () => {
  it("are another model without that", async () => {
    const device = await openTestDevice("wasm");
    const { inputs: [tokens], logits } = await readGolden("axk1-tiny");
    const vocabulary = logits.length / 2 / tokens.length;
    const expected = logits.subarray(PROMPT * vocabulary, LENGTH * vocabulary);
    const errorOf = async (change?: (spec: ModelSpec) => ModelSpec) =>
      relativeError((await logitsOf(await load(device, 1, change), tokens, alone(1)))[0], expected);
    const [is, isNot] = [await errorOf(), await errorOf((spec) => ({ ...spec, moe: { ...spec.moe!, outputNorm: false } }))];
    assert(is < 2e-5 && isNot > 0.1, `${is}, without ${isNot}`);
    await device.close();
  });

  it("draft by no layer of their own, of which nobody has said how it is made", async () => {
    const spec = parseModelConfig(await Deno.readTextFile(`${fixtureDirectory("axk1-tiny")}/config.json`), "axk1-tiny");
    const drafting = { ...spec, mtpLayers: 1 };
    const checkpoint = { has: () => true, name: "axk1-tiny" };
    assertEquals(specFor("auto", drafting, checkpoint).mtp, false);
    assertThrows(() => specFor("mtp", drafting, checkpoint), LatentmeshError, "normalise what experts give");
    assertEquals(specFor("auto", { ...drafting, moe: { ...spec.moe!, outputNorm: false } }, checkpoint).mtp, true);
  });
});

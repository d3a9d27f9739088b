/**
 * A family whose tensors have other names: the same model, and nothing but the names of its spec knows.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import type { ModelSpec } from "../../../core/model/spec.ts";
import { modelTensors } from "../../../core/model/synthetic/model_tensors.ts";
import { tensorName, type TensorNames, type TensorRole } from "../../../core/model/tensor_names.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { partition, UNCUT } from "../../../core/tpla/partition.ts";
import { ALONE } from "../../../core/tpla/group_place.ts";
import { Model } from "../../../workers/forward/model.ts";
import { loadWeights } from "../../../workers/load/loader.ts";
import type { LoadShard } from "../../../workers/load/attention_plan.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { openTestDevice } from "../../support/devices.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { TEST_LIMITS } from "../../support/fixtures.ts";
import { runSequence } from "../../support/forward.ts";
import { ODD_MTP_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";

const TOKENS = Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 250);

/** Names that no family has, of the same layers and experts. */
function madeUp(names: TensorNames): TensorNames {
  const entries = Object.entries(names).map(([role, name]: [string, string]) => {
    const suffix = name.endsWith(".weight") ? ".weight" : "";
    return [role, ["made", "up", ...name.match(/\{\w+\}/g) ?? [], role].join("/") + suffix];
  });
  return Object.fromEntries(entries) as Record<TensorRole, string>;
}

/** The checkpoint of a directory with its tensors under other names, in a directory that the caller removes. */
async function renamed(checkpoint: Checkpoint, spec: ModelSpec, names: TensorNames): Promise<string> {
  const roles: [role: TensorRole, place?: { layer: number }][] = (["stackedGateUp", "stackedDown"] as const).flatMap((role) =>
    Array.from({ length: spec.layers }, (_, layer) => [role, { layer }] as [TensorRole, { layer: number }])
  );
  const other = new Map(roles.map(([role, place]) => [tensorName(spec.tensorNames, role, place), tensorName(names, role, place)]));
  const others = modelTensors({ ...spec, tensorNames: names });
  modelTensors(spec).forEach(({ name }, i) => other.set(name, others[i].name));
  const tensors = await Promise.all([...checkpoint.names()].map(async (name): Promise<TensorData> => {
    const { dtype, shape, bytes } = checkpoint.info(name);
    const [, base, scales = ""] = /^(.*?)(_scale_inv)?$/.exec(name)!;
    return { name: (other.get(base) ?? base) + scales, dtype: dtype as TensorData["dtype"], shape, bytes: await checkpoint.read(name, 0, bytes) };
  }));
  const directory = await Deno.makeTempDir();
  await Deno.writeFile(`${directory}/model.safetensors`, writeSafetensors(tensors));
  return directory;
}

async function logitsOf(checkpoint: Checkpoint, spec: ModelSpec, shard?: LoadShard): Promise<Float32Array> {
  const device = await openTestDevice("wasm");
  try {
    const weights = await loadWeights(device, checkpoint, spec, { weights: "keep", shard });
    const sizes = { group: ALONE, cacheDtype: "f32", maxTokens: 1024, maxContext: 256, maxSequences: 4, limits: TEST_LIMITS } as const;
    const model = await Model.create(device, weights, sizes);
    const drafts = spec.mtp ? [await Model.draftHead(model, weights)] : [];
    assertEquals(drafts.length, spec.mtp ? 1 : 0);
    return (await runSequence(model, TOKENS, "prefill", 16)).logits;
  } finally {
    await device.close();
  }
}

/** Compares a checkpoint with itself under made-up names. */
async function assertSame(directory: string, change: Partial<ModelSpec> = {}, shardOf: (spec: ModelSpec) => LoadShard | undefined = () => undefined) {
  using files = new DirectoryFiles(directory);
  const checkpoint = await Checkpoint.open(files);
  const spec = { ...parseModelConfig((await files.text("config.json"))!, directory), ...change };
  const names = madeUp(spec.tensorNames);
  const copy = await renamed(checkpoint, spec, names);
  try {
    using copied = new DirectoryFiles(copy);
    const other = await Checkpoint.open(copied);
    assert(modelTensors(spec).every(({ name }) => !other.has(name)));
    await assertRejects(() => logitsOf(other, spec, shardOf(spec)), LatentmeshError, "is missing");
    const logits = await logitsOf(checkpoint, spec, shardOf(spec));
    assert(logits.some((value) => value !== 0) && logits.every(Number.isFinite));
    assertEquals(await logitsOf(other, { ...spec, tensorNames: names }, shardOf(spec)), logits);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

describe("a family whose tensors have other names", () => {
  for (const name of ["deepseek-v3-fp8-tiny", "deepseek-v32-tiny", "longcat-flash-tiny", "mistral4-tiny", "youtu-tiny", "axk1-tiny"] as const) {
    it(`gives the logits of ${name}`, () => assertSame(fixtureDirectory(name)));
  }

  it("has latents under another basis", () =>
    assertSame(fixtureDirectory("deepseek-v2-lite-tiny"), {}, (spec) => ({
      shape: partition(spec, UNCUT)[0],
      bases: Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null)),
    })));

  it("drafts", async () => {
    const directory = await writeRandomCheckpoint(ODD_MTP_CONFIG);
    try {
      await assertSame(directory, { mtp: true });
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});

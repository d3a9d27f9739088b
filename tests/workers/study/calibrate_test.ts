import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint, readRange } from "../../../core/model/checkpoint.ts";
import type { SafetensorsDtype } from "../../../core/model/safetensors.ts";
import { writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { modelHash } from "../../../core/model/model_hash.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { layerBases } from "../../../core/tpla/basis.ts";
import { type CalibratedBasis, readBasis, writeBasis } from "../../../core/tpla/basis_file.ts";
import { calibrate } from "../../../workers/study/calibrate.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { relativeError } from "../../support/compare.ts";
import { itOfWhole } from "../../support/extent.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { memorySource } from "../../support/safetensors.ts";

const directory = fixtureDirectory("tiny-mla");
const documents: string[] = JSON.parse(await Deno.readTextFile(`${directory}/calibration.json`));

async function shipped(): Promise<CalibratedBasis> {
  using files = new DirectoryFiles(directory);
  return await readBasis((await files.open("basis.safetensors"))!);
}

describe("calibration", () => {
  // Of 16384 tokens.
  itOfWhole("recomputes the basis that the embedded model ships", async () => {
    const basis = await shipped();
    const again = await calibrate({ model: directory, device: "wasm", documents, tokens: basis.provenance.tokens });
    assertEquals(again.provenance, basis.provenance);
    again.statistics.forEach((statistics, layer) => {
      for (const name of ["latents", "queries", "values"] as const) {
        const error = relativeError(basis.statistics[layer][name], statistics[name]);
        assert(error < 1e-5, `${name} of layer ${layer}: ${error}`);
      }
    });
  });

  it("ships a basis for this model that is what its statistics give", async () => {
    const basis = await shipped();
    using files = new DirectoryFiles(directory);
    assertEquals(basis.provenance.modelHash, await modelHash((await files.text("config.json"))!, await Checkpoint.open(files)));
    assert(basis.provenance.tokens >= 16384, "enough tokens");
    basis.statistics.forEach((statistics, layer) => {
      const { eigenvalues } = chooseBasis("balanced", basis.width, statistics);
      assert(relativeError(basis.defaults[layer].eigenvalues, eigenvalues) < 1e-3, `layer ${layer}`);
    });
    assertEquals(layerBases(basis, "balanced"), basis.defaults);
    assertEquals(layerBases(basis, "pca").length, 6);
  });

  it("takes a wrapped text model for what it is without its wrapper", async () => {
    const wrapped = fixtureDirectory("mistral3-tiny");
    const bare = await Deno.makeTempDir();
    try {
      for (const file of ["tokenizer.json", "tokenizer_config.json"]) await Deno.copyFile(`${wrapped}/${file}`, `${bare}/${file}`);
      await Deno.writeTextFile(`${bare}/config.json`, JSON.stringify(JSON.parse(await Deno.readTextFile(`${wrapped}/config.json`)).text_config));
      using files = new DirectoryFiles(wrapped);
      const checkpoint = await Checkpoint.open(files);
      const text = [...checkpoint.names()].filter((name) => name.startsWith("language_model."));
      const tensors = text.map(async (name) => ({
        ...checkpoint.info(name),
        dtype: checkpoint.info(name).dtype as SafetensorsDtype,
        name: name.slice("language_model.".length),
        bytes: await readRange(checkpoint.range(name)),
      }));
      await Deno.writeFile(`${bare}/model.safetensors`, writeSafetensors(await Promise.all(tensors)));
      const [inside, outside] = await Promise.all(
        [wrapped, bare].map((model) => calibrate({ model, device: "cpu", documents: ["one text", "another"], tokens: 16 })),
      );
      assertEquals(inside.statistics, outside.statistics);
    } finally {
      await Deno.remove(bare, { recursive: true });
    }
  });

  it("writes what it reads, and refuses other files", async () => {
    const basis = await calibrate({ model: fixtureDirectory("deepseek-v3-tiny"), device: "cpu", documents: ["one text", "another"], tokens: 12 });
    assertEquals(basis.provenance.tokens, 12);
    const read = await readBasis(memorySource("basis", writeBasis(basis)));
    assertEquals(read.provenance, basis.provenance);
    assert(relativeError(read.defaults[2].transform, basis.defaults[2].transform) < 1e-6, "transform");
    using files = new DirectoryFiles(directory);
    const other = (await files.open("model.safetensors"))!;
    await assertRejects(() => readBasis(other), LatentmeshError, "not a basis");
  });
});

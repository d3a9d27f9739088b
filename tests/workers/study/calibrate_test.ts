import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { modelHash } from "../../../core/model/model_hash.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { type CalibratedBasis, layerBases, readBasis, writeBasis } from "../../../core/tpla/basis_file.ts";
import { calibrate } from "../../../workers/study/calibrate.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { relativeError } from "../../support/compare.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";
import { memorySource } from "../../support/safetensors.ts";

const directory = fixtureDirectory("tiny-mla");
const documents: string[] = JSON.parse(await Deno.readTextFile(`${directory}/calibration.json`));

async function shipped(): Promise<CalibratedBasis> {
  using files = new DirectoryFiles(directory);
  return await readBasis((await files.open("basis.safetensors"))!);
}

describe("calibration", () => {
  it("recomputes the basis that the embedded model ships", async () => {
    const basis = await shipped();
    const again = await calibrate({ model: directory, device: "cpu", documents, tokens: basis.provenance.tokens });
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

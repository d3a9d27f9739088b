import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { readSafetensorsHeader } from "../../../core/model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { layerBases } from "../../../core/tpla/basis.ts";
import { type CalibratedBasis, readBasis, readChosenWidths, writeBasis } from "../../../core/tpla/basis_file.ts";
import { Random } from "../../../bench/support/random.ts";
import { memorySource } from "../../support/safetensors.ts";

const WIDTH = 8;
const LAYERS = 2;

/** A symmetric matrix of full rank. */
function moments(random: Random): Float64Array {
  const factor = Float64Array.from(random.normals(WIDTH * WIDTH));
  return Float64Array.from({ length: WIDTH * WIDTH }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < WIDTH; k++) sum += factor[Math.floor(i / WIDTH) * WIDTH + k] * factor[(i % WIDTH) * WIDTH + k];
    return sum + (i % (WIDTH + 1) === 0 ? 1 : 0);
  });
}

function calibrated(): CalibratedBasis {
  const random = new Random();
  const statistics = Array.from({ length: LAYERS }, () => ({ latents: moments(random), queries: moments(random), values: moments(random) }));
  return {
    provenance: { modelHash: "a".repeat(64), textHash: "b".repeat(64), tokens: 9 },
    chosen: [],
    width: WIDTH,
    statistics,
    defaults: statistics.map((one) => chooseBasis("balanced", WIDTH, one)),
  };
}

const good = writeBasis(calibrated());
const source = (bytes: Uint8Array<ArrayBuffer>) => memorySource("basis.safetensors", bytes);

/** The file with other metadata, or with tensors that are something else; null leaves one out. */
async function changed(
  change: (tensor: TensorData) => Partial<TensorData> | null = () => ({}),
  metadata: Record<string, string> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const header = await readSafetensorsHeader(source(good));
  const tensors: TensorData[] = [];
  for (const [name, { dtype, shape, offset, bytes }] of header.tensors) {
    const tensor = { name, dtype, shape, bytes: good.slice(offset, offset + bytes) };
    const other = change(tensor);
    if (other !== null) tensors.push({ ...tensor, ...other });
  }
  return writeSafetensors(tensors, { ...header.metadata, ...metadata });
}

/** The same tensor with one value that is another. */
function withValue({ bytes }: TensorData, value: number): Partial<TensorData> {
  const values = new Float32Array(bytes.slice().buffer);
  values[5] = value;
  return { bytes: new Uint8Array(values.buffer) };
}

const MODEL = { layers: LAYERS, latentWidth: WIDTH };
const refused = async (bytes: Uint8Array<ArrayBuffer>, says: string) => {
  const error = await assertRejects(() => readBasis(source(bytes), MODEL), LatentmeshError, says);
  assertEquals([error.code, error.message.includes("basis.safetensors")], ["invalid_checkpoint", true]);
};

describe("basis.safetensors", () => {
  it("is read as it was written", async () => {
    const read = await readBasis(source(good), MODEL);
    assertEquals([read.width, read.statistics.length, read.provenance.tokens], [WIDTH, LAYERS, 9]);
    assertEquals(layerBases(read, "balanced").length, LAYERS);
  });

  it("keeps what was chosen of widths, and is none the worse without", async () => {
    const chosen = [{ latentGroups: 2, widths: [4, 7], kl: 1e-4, uniformKl: 5e-4 }, { latentGroups: 4, widths: [3, 8], kl: 0, uniformKl: 0 }];
    const written = writeBasis({ ...calibrated(), chosen });
    assertEquals((await readBasis(source(written), MODEL)).chosen, chosen);
    assertEquals(await readChosenWidths(source(written), MODEL), chosen);
    assertEquals([(await readBasis(source(good), MODEL)).chosen, await readChosenWidths(source(good), MODEL)], [[], []]);
    // Who only plans is not told what is wrong with a file: whoever reads all of it is.
    for (const other of [null, source(written.slice(0, 40)), source(await changed(undefined, { chosen: "{" }))]) {
      assertEquals(await readChosenWidths(other, MODEL), []);
    }
    assertEquals(await readChosenWidths(source(written), { layers: 3 }), []);
  });

  it("is refused where widths are none that the model can have", async () => {
    const of = (one: Record<string, unknown>) => JSON.stringify([{ latentGroups: 2, widths: [4, 7], kl: 0, uniformKl: 0, ...one }]);
    for (const text of ["{", "7", of({ widths: [0, 4] }), of({ latentGroups: 1 }), of({ kl: "x" }), of({ more: 1 })]) {
      await refused(await changed(undefined, { chosen: text }), "not a basis made by this version");
    }
    await refused(await changed(undefined, { chosen: of({ widths: [4] }) }), "widths for 1 of 2 layers");
    for (const widths of [[4, 9], [3, 8]]) {
      await refused(await changed(undefined, { chosen: of({ widths }) }), "2 latent groups cannot have the widths");
    }
  });

  it("is refused by name where it is for another model, not whole, or of other shapes", async () => {
    await refused(await changed(undefined, { width: "9" }), "with latents of 9");
    await refused(await changed(undefined, { layers: "3" }), "it is for 3 layers");
    await refused(await changed(undefined, { layers: "9".repeat(30) }), "not a basis made by this version");
    await refused(await changed(undefined, { modelHash: "x" }), "not a basis made by this version");
    await refused(await changed((tensor) => tensor.name === "layers.1.values" ? null : {}), "11 tensors");
    await refused(await changed((tensor) => tensor.name === "layers.1.values" ? { name: "layers.1.more" } : {}), "layers.1.values is missing");
    await refused(await changed((tensor) => tensor.name === "layers.0.transform" ? { shape: [4, 16] } : {}), "F32 [4, 16] where F32 [8, 8]");
    await refused(await changed((tensor) => tensor.name === "layers.0.latents" ? { dtype: "I32" } : {}), "I32 [8, 8] where F32");
  });

  it("is refused where its numbers are none, or its matrices do not belong together", async () => {
    for (const value of [NaN, Infinity, -Infinity]) {
      for (const name of ["layers.0.queries", "layers.1.transform", "layers.1.eigenvalues"]) {
        await refused(await changed((tensor) => tensor.name === name ? withValue(tensor, value) : {}), `${name} holds numbers that are none`);
      }
    }
    await refused(
      await changed((tensor) => tensor.name === "layers.1.inverse" ? withValue(tensor, 1e6) : {}),
      "layer 1 are not each other's inverse",
    );
    const zeros = await changed((tensor) => tensor.name.endsWith("transform") ? { bytes: new Uint8Array(tensor.bytes.length) } : {});
    await refused(zeros, "layer 0 are not each other's inverse");
  });

  it("gives a named error where statistics give no basis", async () => {
    const zeros = await changed((tensor) => /latents|queries|values$/.test(tensor.name) ? { bytes: new Uint8Array(tensor.bytes.length) } : {});
    const read = await readBasis(source(zeros), MODEL);
    await assertRejects(
      () => Promise.resolve().then(() => layerBases(read, "balanced", { lambda: 0.5, seed: 1 })),
      LatentmeshError,
      "gives no balanced basis",
    );
  });
});

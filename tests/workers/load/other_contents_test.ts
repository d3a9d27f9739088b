/**
 * What stands where a model's files should be, and what is said of it.
 */
import { describe, it } from "@std/testing/bdd";
import { assertRejects, assertStringIncludes } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { openModelFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

/** Names of files, and what they hold; null: what the fixture has. */
const CASES: Readonly<Record<string, [files: Record<string, string | null>, model: string, said: string]>> = {
  "an adapter": [{ "adapter_config.json": "{}", "adapter_model.safetensors": "" }, "", "but an adapter (adapter_config.json); merge that"],
  "a vocabulary of SentencePiece alone": [
    { "config.json": null, "tokenizer.model": "", "model.safetensors": null },
    "",
    "make a tokenizer.json of it",
  ],
  "weights of PyTorch": [
    { "config.json": null, "tokenizer.json": null, "pytorch_model.bin": "" },
    "",
    "such as pytorch_model.bin, and must be saved as safetensors",
  ],
  "weights of NeMo": [{ "config.json": null, "tokenizer.json": null, "model.nemo": "" }, "", "such as model.nemo, and must be saved as safetensors"],
  "nothing": [{}, "", "models on the hub are called org/name"],
};

describe("instead of a model", () => {
  for (const [name, [files, model, said]] of Object.entries(CASES)) {
    it(`${name}: it is said what to do`, async () => {
      const directory = await Deno.makeTempDir();
      try {
        for (const [file, text] of Object.entries(files)) {
          if (text === null) await Deno.copyFile(`${fixtureDirectory("youtu-tiny")}/${file}`, `${directory}/${file}`);
          else await Deno.writeTextFile(`${directory}/${file}`, text);
        }
        using opened = openModelFiles(directory + model);
        assertStringIncludes((await assertRejects(() => readModelPackage(opened), LatentmeshError)).message, said);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    });
  }
});

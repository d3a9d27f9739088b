/**
 * A model directory's configuration, as text: what it means is `config.ts`'s, and what there is beside it `../model_package.ts`'s, of which workers need no vocabulary.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ModelFiles } from "./checkpoint.ts";

/** Text of config.json. @throws {LatentmeshError} `not_found` if the directory has none */
export async function readConfigText(files: ModelFiles): Promise<string> {
  const text = await files.text("config.json");
  if (text === null) {
    const what = await files.whatElse?.() ?? "there is no config.json in it";
    throw new LatentmeshError("not_found", `Cannot load ${files.name}: it is not a model directory (${what})`, { param: "model" });
  }
  return text;
}

/**
 * The files that tokenizer and chat template are made from. They are kept as text: another process can make its own from them.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { ModelFiles } from "../model/checkpoint.ts";

/** Texts of a model directory. */
export interface TextSource {
  /** How the directory is named in errors. */
  readonly name: string;
  /** `tokenizer.json` */
  readonly tokenizer: string;
  /** `tokenizer_config.json`; null if there is none. */
  readonly config: string | null;
  /** `chat_template.jinja`; null if there is none, which says nothing about the one in the configuration. */
  readonly template: string | null;
}

/** Reads them. @throws {LatentmeshError} `not_found` if there is no tokenizer */
export async function readTextSource(files: ModelFiles): Promise<TextSource> {
  const tokenizer = await files.text("tokenizer.json");
  if (tokenizer === null) throw new LatentmeshError("not_found", `Cannot load ${files.name}: it has no tokenizer.json`);
  return {
    name: files.name,
    tokenizer,
    config: await files.text("tokenizer_config.json"),
    template: await files.text("chat_template.jinja"),
  };
}

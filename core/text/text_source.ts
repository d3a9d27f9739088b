/**
 * The files that tokenizer and chat template are made from. They are kept as text: another process can make its own from them.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import { otherVocabulary } from "../model/other_contents.ts";
import type { ModelFiles } from "../model/checkpoint.ts";

/** Texts of a model directory. */
export interface TextSource {
  /** How the directory is named in errors. */
  readonly name: string;
  /** The vocabulary. */
  readonly tokenizer: string;
  /** Which file that is. */
  readonly tokenizerFile: "tokenizer.json" | "tiktoken.model";
  /** `tokenizer_config.json`; null if there is none. */
  readonly config: string | null;
  /** `chat_template.jinja`; null if there is none, which says nothing about the one in the configuration. */
  readonly template: string | null;
}

/** Reads them: of two vocabularies `tokenizer.json`, which says more. @throws {LatentmeshError} `not_found` if there is no tokenizer */
export async function readTextSource(files: ModelFiles): Promise<TextSource> {
  for (const tokenizerFile of ["tokenizer.json", "tiktoken.model"] as const) {
    const tokenizer = await files.text(tokenizerFile);
    if (tokenizer === null) continue;
    return {
      name: files.name,
      tokenizer,
      tokenizerFile,
      config: await files.text("tokenizer_config.json"),
      template: await files.text("chat_template.jinja"),
    };
  }
  throw new LatentmeshError("not_found", `Cannot load ${files.name}: it has no tokenizer.json, nor a tiktoken.model${await otherVocabulary(files)}`);
}

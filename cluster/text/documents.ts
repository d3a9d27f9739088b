/**
 * Texts that are measured or calibrated with.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError, messageOf } from "../../core/errors.ts";

/** Reads a JSON array of documents. @throws {LatentmeshError} */
export async function readDocuments(file: string): Promise<string[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw new LatentmeshError("not_found", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
  const parsed = z.array(z.string()).min(1).safeParse(tryJson(text));
  if (!parsed.success) throw new LatentmeshError("invalid_config", `Cannot use ${file}: it must be a JSON array of texts, one at least`);
  return parsed.data;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

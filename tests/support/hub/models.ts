/**
 * Models to publish on a fake hub.
 *
 * @module
 */
import { ROOT } from "../../../bench/support/root.ts";
import type { PublishedModel } from "./fake_hub.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** A configuration that can be read. */
export const CONFIG = await Deno.readTextFile(`${ROOT}/models/tiny-mla/config.json`);

/** A model that nobody can load, but whose files are like a model's. @param shards bytes of each */
export function shardedModel(shards: readonly Uint8Array<ArrayBuffer>[], options: Partial<PublishedModel> = {}): PublishedModel {
  const names = shards.map((_, i) => `model-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`);
  const index = { weight_map: Object.fromEntries(names.map((name, i) => [`tensor.${i}`, name])) };
  return {
    repository: "test/sharded",
    files: new Map([
      [".gitattributes", encode("*.safetensors filter=lfs\n")],
      ["README.md", encode("# A model\n")],
      ["config.json", encode(CONFIG)],
      ["tokenizer.json", encode(JSON.stringify({ padding: "x".repeat(9000) }))],
      ["tokenizer_config.json", encode("{}")],
      // Files may be empty.
      ["chat_template.jinja", encode("")],
      ["model.safetensors.index.json", encode(JSON.stringify(index))],
      ["pytorch_model.bin", encode("x".repeat(5000))],
      ["model-q4_k_m.gguf", encode("x".repeat(5000))],
      ["consolidated.safetensors", encode("x".repeat(5000))],
      ...names.map((name, i) => [name, shards[i]] as const),
    ]),
    ...options,
  };
}

/** What of it is needed. */
export function neededOf({ files }: PublishedModel): string[] {
  return [...files.keys()].filter((path) => !/^\.|README|\.bin$|\.gguf$|^consolidated|^calibration/.test(path));
}

/** The embedded model, which can be loaded. */
export async function publishedTiny(options: Partial<PublishedModel> = {}): Promise<PublishedModel> {
  const directory = `${ROOT}/models/tiny-mla`;
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for await (const { name } of Deno.readDir(directory)) files.set(name, await Deno.readFile(`${directory}/${name}`));
  return { repository: "test/tiny-mla", files, ...options };
}

/**
 * Which files of a model are read here, and so fetched: weights once and in one form, of all else what the loader looks for.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { INDEX_FILE, SINGLE_FILE, weightNames } from "../../core/model/checkpoint.ts";
import { besideModel } from "../../core/model/gguf/parts.ts";
import { otherWeightsAmong } from "../../core/model/other_contents.ts";
import type { GgufChoice } from "./gguf_choice.ts";
import type { HubFile } from "./listing.ts";

/** What says how a model is built: fetched, and read, before all else. */
export const CONFIG_FILE = "config.json";

/** What is read where there is one. */
const TEXTS = [
  CONFIG_FILE,
  "generation_config.json",
  "tokenizer.json",
  "tiktoken.model",
  "tokenizer_config.json",
  "chat_template.jinja",
  // Published along by whoever has calibrated the model.
  "basis.safetensors",
];

const VOCABULARIES = ["tokenizer.json", "tiktoken.model"];

/** Whether a file has bytes worth a progress of its own. */
export function isSmall(path: string): boolean {
  return TEXTS.includes(path) || path === INDEX_FILE;
}

/** The small files that are there. @throws {LatentmeshError} `not_found` if what is there cannot be a model */
export function smallFiles(files: ReadonlyMap<string, HubFile>, model: string): HubFile[] {
  const refuse = (problem: string): never => {
    throw new LatentmeshError("not_found", `Cannot use ${model}: ${problem}`, { param: "model" });
  };
  if (!files.has(CONFIG_FILE)) {
    const what = files.has("adapter_config.json")
      ? "it holds an adapter, which must be merged into its model first"
      : `only models in the form of transformers can be loaded`;
    refuse(`it has no ${CONFIG_FILE}; ${what}`);
  }
  if (!VOCABULARIES.some((file) => files.has(file))) {
    const other = files.has("tokenizer.model") ? "; its tokenizer.model (SentencePiece) is not read" : "";
    refuse(`it has none of ${VOCABULARIES.join(", ")}${other}`);
  }
  if (!hasSafetensors(files)) {
    const other = otherWeightsAmong(files.keys());
    const forms = other === undefined ? "" : ` (its weights are in files such as ${other})`;
    refuse(`it has no ${SINGLE_FILE}, nor ${INDEX_FILE}, nor GGUF files${forms}; look for the same model in one of these forms, or save it so`);
  }
  return [...TEXTS, INDEX_FILE].flatMap((file) => files.get(file) ?? []);
}

/** The weights. @param indexText of {@link INDEX_FILE}; null if there is none @throws {LatentmeshError} if the index names what is not there */
export function weightFiles(files: ReadonlyMap<string, HubFile>, indexText: string | null, model: string): HubFile[] {
  const names = weightNames(indexText, files.has(SINGLE_FILE), `${model}/${INDEX_FILE}`) ?? [SINGLE_FILE];
  return names.map((name) => {
    const file = files.get(name);
    if (file !== undefined) return file;
    throw new LatentmeshError("not_found", `Cannot use ${model}: ${name}, named by ${INDEX_FILE}, is missing`, { param: "model" });
  });
}

/** Whether there are weights in safetensors. */
export function hasSafetensors(files: { has(file: string): boolean }): boolean {
  return files.has(INDEX_FILE) || files.has(SINGLE_FILE);
}

/** A model in GGUF files: they, and a basis that was published along. @throws {LatentmeshError} `not_found` if one of its parts is missing */
export function ggufFiles(files: ReadonlyMap<string, HubFile>, { file, parts }: GgufChoice, model: string): HubFile[] {
  const basis = files.get(besideModel(file, "basis.safetensors"));
  return [
    ...parts.map((part) => {
      const listed = files.get(part);
      if (listed !== undefined) return listed;
      throw new LatentmeshError("not_found", `Cannot use ${model}: ${part}, which is part of ${file}, is missing`, { param: "model" });
    }),
    ...(basis === undefined ? [] : [basis]),
  ];
}

/**
 * A model directory without its weights: everything that whoever serves it must know, in one process or in a coordinator.
 *
 * @module
 */
import type { ServedModel, TokenEngine } from "./engine.ts";
import { Checkpoint, type ModelFiles } from "./model/checkpoint.ts";
import { parseModelConfig } from "./model/config.ts";
import { readConfigText } from "./model/config_text.ts";
import { modelNameOf } from "./model/gguf/parts.ts";
import { type GenerationConfig, parseGenerationConfig } from "./model/generation_config.ts";
import { specFor } from "./model/mtp.ts";
import type { ModelSpec } from "./model/spec.ts";
import type { Speculation } from "./speculation/speculation.ts";
import { readChosenWidths } from "./tpla/basis_file.ts";
import type { ChosenWidths } from "./tpla/chosen_widths.ts";
import { ChatTemplate } from "./text/chat_template.ts";
import { readTextSource, type TextSource } from "./text/text_source.ts";
import { TextTokenizer } from "./text/tokenizer.ts";

/** What a directory holds but for its texts: what planning must know. Of vocabularies it needs none, and large ones take long. */
export interface ModelDescription {
  /** Last part of the directory's name; of a GGUF file, its name without what says that it is one. */
  readonly id: string;
  readonly configText: string;
  readonly spec: ModelSpec;
  readonly generation: GenerationConfig;
  readonly checkpoint: Checkpoint;
  /** What the calibration beside the model has chosen, by number of latent groups. */
  readonly chosenWidths: readonly ChosenWidths[];
}

/** What a directory holds. */
export interface ModelPackage extends ModelDescription {
  readonly textSource: TextSource;
  readonly tokenizer: TextTokenizer;
  readonly chatTemplate: ChatTemplate | null;
}

/**
 * Reads a directory.
 *
 * @param speculate how tokens are guessed, which says whether the layer that drafts is loaded; default: none is
 * @throws {LatentmeshError} saying which file or field cannot be used
 */
export async function readModelPackage(files: ModelFiles, speculate: Speculation = "off"): Promise<ModelPackage> {
  const configText = await readConfigText(files);
  const textSource = await readTextSource(files);
  const tokenizer = TextTokenizer.of(textSource);
  return { ...await describe(files, configText, speculate), textSource, tokenizer, chatTemplate: ChatTemplate.of(textSource, tokenizer.config) };
}

/** The same but for its texts. @throws {LatentmeshError} saying which file or field cannot be used */
export async function readModelDescription(files: ModelFiles, speculate: Speculation = "off"): Promise<ModelDescription> {
  return await describe(files, await readConfigText(files), speculate);
}

async function describe(files: ModelFiles, configText: string, speculate: Speculation): Promise<ModelDescription> {
  const checkpoint = await Checkpoint.open(files);
  const spec = specFor(speculate, parseModelConfig(configText, `${files.name}/config.json`), checkpoint);
  return {
    id: modelNameOf(files.name.split("/").at(-1)!),
    configText,
    spec,
    generation: parseGenerationConfig(await files.text("generation_config.json"), `${files.name}/generation_config.json`),
    checkpoint,
    chosenWidths: await readChosenWidths(await files.open("basis.safetensors"), spec),
  };
}

/** The model as a server sees it. */
export function servedModel({ id, spec, generation, textSource, tokenizer, chatTemplate }: ModelPackage, engine: TokenEngine): ServedModel {
  return {
    id,
    created: Math.floor(Date.now() / 1000),
    engine,
    textSource,
    tokenizer,
    chatTemplate,
    vocabSize: spec.vocabSize,
    eosTokens: eosTokens(spec, generation.eosTokens, tokenizer),
    samplingDefaults: generation.sampling,
  };
}

function eosTokens(spec: ModelSpec, generation: readonly number[], tokenizer: TextTokenizer): readonly number[] {
  if (generation.length > 0) return generation;
  if (spec.eosTokens.length > 0) return spec.eosTokens;
  return tokenizer.eosToken === null ? [] : [tokenizer.eosToken];
}

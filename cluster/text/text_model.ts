/**
 * What of a served model is needed to turn requests into tokens.
 *
 * @module
 */
import type { ContextLimits } from "../../core/context_limit.ts";
import type { ServedModel } from "../../core/engine.ts";
import { ChatTemplate } from "../../core/text/chat_template.ts";
import type { TextSource } from "../../core/text/text_source.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";

/** What a text process is given. */
export interface TextModelSource {
  /** Name in the API. */
  readonly id: string;
  readonly vocabSize: number;
  /** Tokens that a prompt and its answer may have together. */
  readonly context: ContextLimits;
  readonly source: TextSource;
}

/** Turns requests into tokens. */
export interface TextModel extends Omit<TextModelSource, "source"> {
  readonly tokenizer: TextTokenizer;
  /** null if the model has none. */
  readonly chatTemplate: ChatTemplate | null;
}

/** What a text process needs of a served model. */
export function textModelSource({ id, vocabSize, engine: { maxContext, maxPositions }, textSource }: ServedModel): TextModelSource {
  return { id, vocabSize, context: { maxContext, maxPositions }, source: textSource };
}

/** Makes tokenizer and template. @throws {LatentmeshError} `invalid_checkpoint` */
export function openTextModel({ source, ...rest }: TextModelSource): TextModel {
  const tokenizer = TextTokenizer.of(source);
  return { ...rest, tokenizer, chatTemplate: ChatTemplate.of(source, tokenizer.config) };
}

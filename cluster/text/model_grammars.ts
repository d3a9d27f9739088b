/**
 * Grammars over a model's vocabulary.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import { Grammars } from "../grammar/grammars.ts";
import { grammarVocabulary } from "../grammar/vocabulary.ts";
import { keptTokens } from "./answer_form.ts";

/** Dispose of them when no more answers come. */
export function createGrammars(model: ServedModel): Grammars {
  return new Grammars(() => grammarVocabulary(model, keptTokens(model)));
}

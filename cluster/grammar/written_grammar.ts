/**
 * Grammars on their way to the thread that holds them. They are written where requests are prepared: nothing that grows with them is done in between.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { AnswerGrammar } from "../../core/text/answers/answer_grammar.ts";

/** Characters that a grammar may have, as JSON. */
const MOST_CHARACTERS = 1 << 19;

/** Fields of a request that a grammar is made of. */
export interface GrammarParams {
  /** That says what form the answer has. */
  readonly form: string;
  readonly tools: string;
}

/** Of chat completions. */
const CHAT_PARAMS: GrammarParams = { form: "response_format", tools: "tools" };

/** A grammar as it is given to its thread. */
export interface WrittenGrammar {
  /** An {@link AnswerGrammar} as JSON. */
  readonly json: string;
  readonly params: GrammarParams;
}

/** Writes a grammar. @throws {LatentmeshError} `invalid_request` if it is too long */
export function writeGrammar(grammar: AnswerGrammar, params: GrammarParams = CHAT_PARAMS): WrittenGrammar {
  const json = JSON.stringify(grammar);
  if (json.length > MOST_CHARACTERS) {
    throw new LatentmeshError("invalid_request", `A grammar has ${json.length} characters; the most are ${MOST_CHARACTERS}`, {
      param: params[longestPart(grammar)],
    });
  }
  return { json, params };
}

function longestPart(grammar: AnswerGrammar): keyof GrammarParams {
  switch (grammar.kind) {
    case "json":
      return "form";
    case "calls":
    case "text":
      return "tools";
    case "either":
      return JSON.stringify(grammar.form).length > JSON.stringify(grammar.calls).length ? "form" : "tools";
    case "reasoned":
      return longestPart(grammar.then);
    default:
      return grammar satisfies never;
  }
}

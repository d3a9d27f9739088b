/**
 * Grammars on their way to the thread that holds them. They are written where requests are prepared: nothing that grows with them is done in between.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { AnswerGrammar } from "../../core/text/answers/answer_grammar.ts";

/** Characters that a grammar may have, as JSON. */
const MOST_CHARACTERS = 1 << 19;

/** A grammar as it is given to its thread. */
export interface WrittenGrammar {
  /** An {@link AnswerGrammar} as JSON. */
  readonly json: string;
  /** The field of a request that it comes from. */
  readonly param: string;
}

/** Writes a grammar. @throws {LatentmeshError} `invalid_request` if it is too long */
export function writeGrammar(grammar: AnswerGrammar): WrittenGrammar {
  const json = JSON.stringify(grammar);
  const param = paramOf(grammar);
  if (json.length > MOST_CHARACTERS) {
    throw new LatentmeshError("invalid_request", `A grammar has ${json.length} characters; the most are ${MOST_CHARACTERS}`, { param });
  }
  return { json, param };
}

function paramOf(grammar: AnswerGrammar): string {
  switch (grammar.kind) {
    case "json":
      return "response_format";
    case "calls":
    case "text":
      return "tools";
    case "reasoned":
      return paramOf(grammar.then);
    default:
      return grammar satisfies never;
  }
}

/**
 * Grammars of answers to prompts that have begun reasoning.
 *
 * @module
 */
import { THINKING } from "../../core/text/answers/tool_format.ts";
import type { Grammar } from "./messages.ts";

/** Anything until the reasoning ends, and only then what the grammar says. */
export function afterReasoning(grammar: Grammar): Grammar {
  const reasoning = { type: "tag", begin: "", content: { type: "any_text" }, end: THINKING[1] };
  return {
    kind: "structural_tag",
    tag: JSON.stringify({ type: "structural_tag", format: { type: "sequence", elements: [reasoning, formatOf(grammar)] } }),
  };
}

function formatOf(grammar: Grammar): unknown {
  switch (grammar.kind) {
    case "json_object":
      return { type: "json_schema", json_schema: { type: "object" } };
    case "json_schema":
      return { type: "json_schema", json_schema: JSON.parse(grammar.schema), strict: grammar.strict };
    case "structural_tag":
      return JSON.parse(grammar.tag).format;
    default:
      return grammar satisfies never;
  }
}

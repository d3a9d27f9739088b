/**
 * Calls of Mistral's models, by the version of their tokenizer.
 *
 * @module
 */
import { CALL_NAME } from "../answer_grammar.ts";
import type { ToolFormat } from "../tool_format.ts";

/** Letters and digits of a call's name. */
const NAME_LENGTH = 9;

/** Templates refuse names of another length or with other characters. */
function callId({ id, number }: { readonly id: string; readonly number: number }): string {
  const plain = id.replace(/[^a-zA-Z0-9]/g, "");
  return plain.length >= NAME_LENGTH ? plain.slice(-NAME_LENGTH) : `call${number.toString(36).padStart(NAME_LENGTH - 4, "0")}`;
}

/** Versions 3 and 7: a list of objects. */
export const MISTRAL_LIST_TOOLS: ToolFormat = {
  name: "mistral-v7",
  open: "[TOOL_CALLS][",
  marker: "[TOOL_CALLS]",
  callBegin: `{"name": `,
  header: (tool) => JSON.stringify(tool),
  toolOf: (header) => textOf(header),
  argumentsBegin: `, "arguments": `,
  callEnd: "}",
  separator: ", ",
  close: "]",
  callId,
};

/** Version 3 as its template writes it: a space before the list. */
export const MISTRAL_SPACED_TOOLS: ToolFormat = { ...MISTRAL_LIST_TOOLS, name: "mistral-v3", open: "[TOOL_CALLS] [" };

/** Version 13 and later: a marker before each call, its name and its arguments. */
export const MISTRAL_TOOLS: ToolFormat = {
  name: "mistral-v13",
  open: "",
  callBegin: "[TOOL_CALLS]",
  header: (tool) => tool,
  toolOf: (header) => header.split("[CALL_ID]")[0].trim(),
  argumentsBegin: "[ARGS]",
  callEnd: "",
  separator: "",
  close: "",
  markers: ["[CALL_ID]"],
  callId,
};

/** Version 11: calls have names of their own, too. */
export const MISTRAL_NAMED_TOOLS: ToolFormat = {
  ...MISTRAL_TOOLS,
  name: "mistral-v11",
  header: (tool, number) => `${tool}[CALL_ID]${typeof number === "number" ? callId({ id: "", number }) : CALL_NAME}`,
};

function textOf(json: string): string {
  try {
    return String(JSON.parse(json));
  } catch {
    return json.trim();
  }
}

/**
 * Calls as JSON between tags.
 *
 * @module
 */
import type { ToolFormat } from "../tool_format.ts";

/** Models that have no form of their own; Hermes' and Qwen's. */
export const PLAIN_TOOLS: ToolFormat = {
  name: "plain",
  open: "",
  callBegin: "<tool_call>\n",
  marker: "<tool_call>",
  header: (tool) => `{"name": ${JSON.stringify(tool)}`,
  toolOf: nameOf,
  argumentsBegin: `, "arguments": `,
  callEnd: "}\n</tool_call>",
  separator: "\n",
  close: "",
  markers: ["</tool_call>"],
};

/** Youtu-LLM: the same in one line. */
export const YOUTU_TOOLS: ToolFormat = {
  ...PLAIN_TOOLS,
  name: "youtu",
  callBegin: "<tool_call>",
  callEnd: "}</tool_call>",
  separator: "",
};

function nameOf(header: string): string {
  try {
    return String(JSON.parse(`${header}}`).name);
  } catch {
    return header.trim();
  }
}

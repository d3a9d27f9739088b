/**
 * Calls of GLM-4.5, 4.6 and 4.7: names and values between tags, where strings stand as they are and everything else is JSON.
 *
 * @module
 */
import type { ToolFormat } from "../tool_format.ts";

/** GLM-4.5 and 4.6: every part on a line of its own. */
export const GLM_TOOLS: ToolFormat = {
  name: "glm",
  open: "",
  callBegin: "<tool_call>",
  header: (tool) => `${tool}\n`,
  toolOf: (header) => header.trim(),
  argumentsBegin: "",
  keyed: { key: ["<arg_key>", "</arg_key>"], between: "\n", value: ["<arg_value>", "</arg_value>"], after: "\n", separator: "", texts: "bare" },
  callEnd: "</tool_call>",
  separator: "\n",
  close: "",
  markers: ["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"],
};

/** GLM-4.7: nothing between the parts. */
export const GLM_47_TOOLS: ToolFormat = {
  ...GLM_TOOLS,
  name: "glm-4.7",
  header: (tool) => tool,
  keyed: { ...GLM_TOOLS.keyed!, between: "", after: "" },
  separator: "",
};

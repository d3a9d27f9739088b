/**
 * Calls of MiniCPM3: Python, with arguments by name.
 *
 * @module
 */
import type { ToolFormat } from "../tool_format.ts";

/** MiniCPM3. */
export const MINICPM_TOOLS: ToolFormat = {
  name: "minicpm3",
  open: "<|tool_call_start|>\n```python\n",
  marker: "<|tool_call_start|>",
  callBegin: "",
  header: (tool) => tool,
  toolOf: (header) => header.replace(/^\s*```python/, "").trim(),
  argumentsBegin: "(",
  keyed: { key: ["", "="], between: "", value: ["", ""], after: "", separator: ",", texts: "json" },
  callEnd: ")",
  separator: "\n",
  close: "\n```\n<|tool_call_end|>",
  markers: ["<|tool_call_end|>"],
};

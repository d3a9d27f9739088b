/**
 * Calls of DeepSeek's models.
 *
 * @module
 */
import type { ToolFormat } from "../tool_format.ts";

/** What both forms share. */
const SECTION = {
  open: "<｜tool▁calls▁begin｜>",
  callBegin: "<｜tool▁call▁begin｜>",
  close: "<｜tool▁calls▁end｜>",
} as const;

/** DeepSeek-V3 and R1: the kind of tool, its name, and arguments in a fence. */
export const DEEPSEEK_TOOLS: ToolFormat = {
  ...SECTION,
  name: "deepseek",
  header: (tool) => `function<｜tool▁sep｜>${tool}`,
  toolOf: (header) => header.split("<｜tool▁sep｜>").at(-1)!.trim(),
  argumentsBegin: "\n```json\n",
  callEnd: "\n```<｜tool▁call▁end｜>",
  separator: "\n",
  markers: ["<｜tool▁sep｜>", "<｜tool▁call▁end｜>"],
};

/** DeepSeek-V3.1: the name and bare arguments. */
export const DEEPSEEK_V31_TOOLS: ToolFormat = {
  ...SECTION,
  name: "deepseek-v3.1",
  header: (tool) => tool,
  toolOf: (header) => header.trim(),
  argumentsBegin: "<｜tool▁sep｜>",
  callEnd: "<｜tool▁call▁end｜>",
  separator: "",
};

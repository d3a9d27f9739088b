/**
 * Calls of Kimi-K2 and Moonlight: named and numbered through the whole conversation, `functions.NAME:NUMBER`.
 *
 * @module
 */
import type { ToolFormat } from "../tool_format.ts";

/** Kimi-K2 and Moonlight. */
export const KIMI_TOOLS: ToolFormat = {
  name: "kimi",
  open: "<|tool_calls_section_begin|>",
  callBegin: "<|tool_call_begin|>",
  header: (tool, index) => `functions.${tool}:${index}`,
  toolOf: (header) => header.trim().replace(/^functions\./, "").replace(/:\d+$/, ""),
  argumentsBegin: "<|tool_call_argument_begin|>",
  callEnd: "<|tool_call_end|>",
  separator: "",
  close: "<|tool_calls_section_end|>",
  callId: ({ name, number }) => `functions.${name}:${number}`,
};

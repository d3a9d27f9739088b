/**
 * How model families write tool calls. One value per family; everything else works from these.
 *
 * @module
 */

import { type AnswerGrammar, CALL_NUMBER, type CallsGrammar } from "./answer_grammar.ts";

/** A tool that a request offers. */
export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of its arguments. */
  readonly parameters: unknown;
  /** Whether arguments have only properties that the schema names. */
  readonly strict?: boolean;
}

/** How calls are written: section, then for each call its beginning, a header that names the tool, its arguments as JSON, and its end. */
export interface ToolFormat {
  readonly name: string;
  /** What opens a series of calls; empty: nothing does. */
  readonly open: string;
  readonly callBegin: string;
  /** The header of a call, between {@link callBegin} and {@link argumentsBegin}. */
  header(tool: string, index: number | string): string;
  /** The tool of a header. */
  toolOf(header: string): string;
  readonly argumentsBegin: string;
  readonly callEnd: string;
  /** Between two calls. */
  readonly separator: string;
  /** What closes the series. */
  readonly close: string;
}

/** DeepSeek-V3 and R1. */
export const DEEPSEEK_TOOLS: ToolFormat = {
  name: "deepseek",
  open: "<｜tool▁calls▁begin｜>",
  callBegin: "<｜tool▁call▁begin｜>",
  header: (tool) => `function<｜tool▁sep｜>${tool}`,
  toolOf: (header) => header.split("<｜tool▁sep｜>").at(-1)!.trim(),
  argumentsBegin: "\n```json\n",
  callEnd: "\n```<｜tool▁call▁end｜>",
  separator: "\n",
  close: "<｜tool▁calls▁end｜>",
};

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
};

/** Models that have no markers of their own. */
export const PLAIN_TOOLS: ToolFormat = {
  name: "plain",
  open: "",
  callBegin: "<tool_call>\n",
  header: (tool) => `{"name": ${JSON.stringify(tool)}`,
  toolOf: (header) => JSON.parse(`${header}}`).name,
  argumentsBegin: `, "arguments": `,
  callEnd: "}\n</tool_call>",
  separator: "\n",
  close: "",
};

/** The format of the family whose markers a vocabulary has. @param tokenOf id of a token by its text */
export function toolFormatOf(tokenOf: (text: string) => number | null): ToolFormat {
  return [DEEPSEEK_TOOLS, KIMI_TOOLS].find(({ callBegin }) => tokenOf(callBegin) !== null) ?? PLAIN_TOOLS;
}

/** Tokens that stand for markers and must be seen, though they are special. */
export function markerTokens(format: ToolFormat, tokenOf: (text: string) => number | null): Set<number> {
  const markers = [
    format.open,
    format.callBegin,
    "<｜tool▁sep｜>",
    format.argumentsBegin,
    "<｜tool▁call▁end｜>",
    format.callEnd,
    format.close,
    ...THINKING,
  ];
  return new Set(markers.map(tokenOf).filter((token) => token !== null));
}

/** What surrounds reasoning. */
export const THINKING = ["<think>", "</think>"] as const;

/** Which calls an answer may or must have. */
export type ToolChoice =
  /** Text, calls, or both. */
  | { readonly kind: "auto" }
  /** At least one call. */
  | { readonly kind: "required" }
  /** A call of this tool. */
  | { readonly kind: "tool"; readonly name: string };

/**
 * The grammar of an answer with tool calls.
 *
 * @param options.several whether there may be more than one call
 */
export function toolGrammar(format: ToolFormat, tools: readonly Tool[], choice: ToolChoice, options: { readonly several: boolean }): AnswerGrammar {
  const offered = choice.kind === "tool" ? tools.filter(({ name }) => name === choice.name) : tools;
  const calls: CallsGrammar = {
    kind: "calls",
    open: format.open,
    calls: offered.map(({ name, parameters, strict }) => ({
      tool: name,
      begin: `${format.callBegin}${format.header(name, CALL_NUMBER)}${format.argumentsBegin}`,
      schema: parameters,
      strict: strict ?? false,
      end: format.callEnd,
    })),
    separator: choice.kind === "tool" || !options.several ? null : format.separator,
    close: format.close,
  };
  if (choice.kind !== "auto") return calls;
  return { kind: "text", marker: format.open === "" ? format.callBegin.trimEnd() : format.open, calls };
}

/** What tells a model about tools whose template does not. */
export function describeTools(format: ToolFormat, tools: readonly Tool[]): string {
  const list = tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters })).join("\n");
  const example = `${format.open}${format.callBegin}${format.header("NAME", 0)}${format.argumentsBegin}ARGUMENTS${format.callEnd}${format.close}`;
  return `You can call these tools:\n${list}\nTo call one, write exactly this, with the arguments as JSON:\n${example}`;
}

/** A call as the model would have written it, for conversations whose template does not know calls. */
export function writeCalls(format: ToolFormat, calls: readonly { readonly name: string; readonly arguments: string }[]): string {
  const written = calls.map((call, i) =>
    `${format.callBegin}${format.header(call.name, i)}${format.argumentsBegin}${call.arguments}${format.callEnd}`
  );
  return `${format.open}${written.join(format.separator)}${format.close}`;
}

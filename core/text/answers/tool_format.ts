/**
 * How model families write tool calls: one value per family, in `formats/`; everything else works from these.
 *
 * @module
 */

import { type AnswerGrammar, CALL_NUMBER, type CallsGrammar, type KeyedForm } from "./answer_grammar.ts";
import { bareText, entriesOf, writeKeyed } from "./keyed_text.ts";
import type { ReasoningFormat } from "./reasoning.ts";

/** A tool that a request offers. */
export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of its arguments. */
  readonly parameters: unknown;
  /** Whether arguments have only properties that the schema names. */
  readonly strict?: boolean;
}

/** How calls are written: section, then for each call its beginning, a header that names the tool, its arguments as JSON, and its end. `formats/` has the known ones. */
export interface ToolFormat {
  readonly name: string;
  /** What opens a series of calls; empty: nothing does. */
  readonly open: string;
  /** What tells text from calls, with which {@link open} or {@link callBegin} begins; default: all of the first of them that is not empty. */
  readonly marker?: string;
  readonly callBegin: string;
  /** The header of a call, between {@link callBegin} and {@link argumentsBegin}. */
  header(tool: string, index: number | string): string;
  /** The tool of a header. */
  toolOf(header: string): string;
  /** Between the header and the arguments; where they are {@link keyed} and this is empty, the first name ends the header. */
  readonly argumentsBegin: string;
  /** How arguments are written one by one; undefined: as an object of JSON. */
  readonly keyed?: KeyedForm;
  /** What ends a call; empty: its arguments do. */
  readonly callEnd: string;
  /** Between two calls. */
  readonly separator: string;
  /** What closes the series. */
  readonly close: string;
  /** Other markers that are tokens of their own. */
  readonly markers?: readonly string[];
  /** What a conversation's calls have to be named for its template; undefined: anything. */
  callId?(call: { readonly id: string; readonly name: string; readonly number: number }): string;
}

/** What tells text from calls. */
export function markerOf({ marker, open, callBegin }: ToolFormat): string {
  return marker ?? (open === "" ? callBegin : open);
}

/** Tokens that stand for markers and must be seen, though they are special. */
export function markerTokens(format: ToolFormat, reasoning: ReasoningFormat | null, tokenOf: (text: string) => number | null): Set<number> {
  const markers = [
    format.open,
    format.marker ?? "",
    format.callBegin,
    format.argumentsBegin,
    format.callEnd,
    format.close,
    ...format.markers ?? [],
    ...reasoning === null ? [] : [reasoning.begin, reasoning.end],
  ];
  return new Set(markers.filter((marker) => marker !== "").map(tokenOf).filter((token) => token !== null));
}

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
      keyed: format.keyed,
      end: format.callEnd,
    })),
    separator: choice.kind === "tool" || !options.several ? null : format.separator,
    close: format.close,
  };
  if (choice.kind !== "auto") return calls;
  return { kind: "text", marker: markerOf(format), calls };
}

/** What tells a model about tools whose template does not. */
export function describeTools(format: ToolFormat, tools: readonly Tool[]): string {
  const list = tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters })).join("\n");
  const { keyed } = format;
  const example = keyed === undefined ? "ARGUMENTS" : writeKeyed(keyed, [["ARGUMENT", "VALUE"]], (value) => value);
  const call = `${format.open}${format.callBegin}${format.header("NAME", 0)}${format.argumentsBegin}${example}${format.callEnd}${format.close}`;
  const form = keyed === undefined
    ? "with the arguments as JSON"
    : keyed.texts === "bare"
    ? "with values as JSON unless they are texts"
    : "with values as JSON";
  return `You can call these tools:\n${list}\nTo call one, write exactly this, ${form}:\n${call}`;
}

/** A call as the model would have written it, for conversations whose template does not know calls. */
export function writeCalls(format: ToolFormat, calls: readonly { readonly name: string; readonly arguments: string }[]): string {
  const written = calls.map((call, i) =>
    `${format.callBegin}${format.header(call.name, i)}${format.argumentsBegin}${writeArguments(format, call.arguments)}${format.callEnd}`
  );
  return `${format.open}${written.join(format.separator)}${format.close}`;
}

function writeArguments({ keyed }: ToolFormat, json: string): string {
  return keyed === undefined ? json : writeKeyed(keyed, entriesOf(json), (value) => keyed.texts === "bare" ? bareText(value) : value);
}

/**
 * Arguments of one call as JSON, while they come.
 *
 * @module
 */
import { JsonEnd } from "./json_end.ts";
import { type ArgumentsReader, KeyedArguments, type ReadArguments } from "./keyed_arguments.ts";
import type { ToolFormat } from "./tool_format.ts";
import type { ArgumentTypes } from "./argument_types.ts";

export type { ArgumentsReader };

/** A reader for a call of a tool. @param types of the tool's arguments, by name */
export function argumentsReader({ keyed, callEnd }: ToolFormat, types: ArgumentTypes | undefined): ArgumentsReader {
  return keyed === undefined ? new JsonArguments() : new KeyedArguments(keyed, callEnd, types ?? {});
}

/** Arguments that are JSON already. They end where it does: what closes the call may begin as they do. */
class JsonArguments implements ArgumentsReader {
  readonly #end = new JsonEnd();

  push(text: string): ReadArguments {
    const end = this.#end.push(text);
    return end < 0 ? { json: text, rest: null } : { json: text.slice(0, end), rest: text.slice(end) };
  }

  finish(): string {
    return "";
  }
}

/**
 * Parts of an answer in the form of chat messages, whole and as deltas.
 *
 * @module
 */
import type { AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import { callId, type SortedAnswer } from "../../text/answer_sum.ts";

/** `choices[].message` of chat completions. */
export function assistantMessage({ content, reasoning, calls }: SortedAnswer): object {
  return {
    role: "assistant",
    content: calls.length > 0 && content === "" ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

interface Delta {
  content?: string;
  reasoning_content?: string;
  tool_calls?: [{ index: number; id?: string; type?: "function"; function: { name?: string; arguments: string } }];
}

/** `choices[].delta` of chat completions, one at least: what comes together, but of one call only, since there are clients that look at the first of each delta. */
export function deltasOf(parts: readonly AnswerPart[]): [object, ...object[]] {
  let delta: Delta = {};
  const deltas: [Delta, ...Delta[]] = [delta];
  /** The delta that may hold a part: the last, unless that holds a call already which this is not part of. */
  const holding = (call: number | null): Delta => {
    const held = delta.tool_calls?.[0].index;
    if (held !== undefined && held !== call) deltas.push(delta = {});
    return delta;
  };
  for (const part of parts) {
    switch (part.kind) {
      case "content": {
        const delta = holding(null);
        delta.content = (delta.content ?? "") + part.text;
        break;
      }
      case "reasoning": {
        const delta = holding(null);
        delta.reasoning_content = (delta.reasoning_content ?? "") + part.text;
        break;
      }
      case "call":
        holding(part.index).tool_calls = [{ index: part.index, id: callId(), type: "function", function: { name: part.name, arguments: "" } }];
        break;
      case "arguments": {
        const delta = holding(part.index);
        if (delta.tool_calls === undefined) delta.tool_calls = [{ index: part.index, function: { arguments: part.text } }];
        else delta.tool_calls[0].function.arguments += part.text;
        break;
      }
      default:
        part satisfies never;
    }
  }
  return deltas;
}

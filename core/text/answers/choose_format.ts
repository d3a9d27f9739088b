/**
 * Which of the known forms a model writes: its template shows it, and its vocabulary has the markers.
 *
 * @module
 */
import { DEEPSEEK_TOOLS, DEEPSEEK_V31_TOOLS } from "./formats/deepseek.ts";
import { GLM_47_TOOLS, GLM_TOOLS } from "./formats/glm.ts";
import { KIMI_TOOLS } from "./formats/kimi.ts";
import { MINICPM_TOOLS } from "./formats/minicpm.ts";
import { MISTRAL_LIST_TOOLS, MISTRAL_NAMED_TOOLS, MISTRAL_SPACED_TOOLS, MISTRAL_TOOLS } from "./formats/mistral.ts";
import { PLAIN_TOOLS, YOUTU_TOOLS } from "./formats/plain.ts";
import { REASONING_FORMATS, type ReasoningFormat } from "./reasoning.ts";
import type { ToolFormat } from "./tool_format.ts";

/** What is known of a model. */
export interface FormatSource {
  /** Id of a token by its text; null: there is none. */
  tokenOf(text: string): number | null;
  /** The chat template; null: there is none. */
  readonly template: string | null;
}

/** How a model writes calls. */
export function toolFormatOf({ tokenOf, template }: FormatSource): ToolFormat {
  const shown = template ?? "";
  const has = (text: string) => shown.includes(text) || tokenOf(text) !== null;
  if (has("<｜tool▁call▁begin｜>")) return shown.includes("<｜tool▁sep｜>") && !shown.includes("```") ? DEEPSEEK_V31_TOOLS : DEEPSEEK_TOOLS;
  if (has("<|tool_call_begin|>")) return KIMI_TOOLS;
  if (has("[TOOL_CALLS]")) return mistral(shown, has);
  if (has("<|tool_call_start|>") && (template === null || shown.includes("```python"))) return MINICPM_TOOLS;
  // What the template shows of a common marker counts more than what the vocabulary has room for.
  if (shown.includes("<arg_key>")) return /<\/arg_key>\s*<arg_value>/.exec(shown)?.[0].includes("\n") ? GLM_TOOLS : GLM_47_TOOLS;
  if (/<tool_call>\{\\?"name/.test(shown)) return YOUTU_TOOLS;
  if (!/<tool_call>/.test(shown) && tokenOf("<arg_key>") !== null) return GLM_47_TOOLS;
  return PLAIN_TOOLS;
}

function mistral(shown: string, has: (text: string) => boolean): ToolFormat {
  if (shown.includes("[ARGS]") || (!shown.includes("[TOOL_CALLS]") && has("[ARGS]"))) {
    return shown.includes("[CALL_ID]") ? MISTRAL_NAMED_TOOLS : MISTRAL_TOOLS;
  }
  return shown.includes("[TOOL_CALLS] [") ? MISTRAL_SPACED_TOOLS : MISTRAL_LIST_TOOLS;
}

/** How a model marks its reasoning; null: it has no marks for it. */
export function reasoningFormatOf({ tokenOf, template }: FormatSource): ReasoningFormat | null {
  const marked = REASONING_FORMATS.filter(({ begin }) => tokenOf(begin) !== null);
  return marked.find(({ begin }) => template?.includes(begin)) ?? marked[0] ?? null;
}

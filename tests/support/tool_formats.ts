/**
 * Every form of tool calls that is known.
 *
 * @module
 */
import { DEEPSEEK_TOOLS, DEEPSEEK_V31_TOOLS } from "../../core/text/answers/formats/deepseek.ts";
import { GLM_47_TOOLS, GLM_TOOLS } from "../../core/text/answers/formats/glm.ts";
import { KIMI_TOOLS } from "../../core/text/answers/formats/kimi.ts";
import { MINICPM_TOOLS } from "../../core/text/answers/formats/minicpm.ts";
import { MISTRAL_LIST_TOOLS, MISTRAL_NAMED_TOOLS, MISTRAL_SPACED_TOOLS, MISTRAL_TOOLS } from "../../core/text/answers/formats/mistral.ts";
import { PLAIN_TOOLS, YOUTU_TOOLS } from "../../core/text/answers/formats/plain.ts";

export const TOOL_FORMATS = [
  DEEPSEEK_TOOLS,
  DEEPSEEK_V31_TOOLS,
  KIMI_TOOLS,
  GLM_TOOLS,
  GLM_47_TOOLS,
  MISTRAL_LIST_TOOLS,
  MISTRAL_SPACED_TOOLS,
  MISTRAL_TOOLS,
  MISTRAL_NAMED_TOOLS,
  MINICPM_TOOLS,
  PLAIN_TOOLS,
  YOUTU_TOOLS,
] as const;

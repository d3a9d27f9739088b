/**
 * Hugging Face `config.json` → one {@link ModelSpec}. The file is parsed once, here; an unknown `model_type`, a missing field or two fields that
 * contradict each other is an error that names the field and the file.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";
import { axk1 } from "./families/axk1.ts";
import { deepseekV2 } from "./families/deepseek_v2.ts";
import { deepseekV3 } from "./families/deepseek_v3.ts";
import { deepseekV32 } from "./families/deepseek_v32.ts";
import type { Family } from "./families/family.ts";
import { FieldError } from "./families/field_checks.ts";
import { glm4MoeLite } from "./families/glm4_moe_lite.ts";
import { glmMoeDsa } from "./families/glm_moe_dsa.ts";
import { longcatFlash } from "./families/longcat_flash.ts";
import { mistral4 } from "./families/mistral4.ts";
import { minicpm3 } from "./families/minicpm3.ts";
import { REFUSED } from "./families/refused.ts";
import { textConfig, WRAPPED_PREFIX, WRAPPERS } from "./families/wrappers.ts";
import { youtu } from "./families/youtu.ts";
import type { ModelSpec } from "./spec.ts";
import { prefixed } from "./tensor_names.ts";

const FAMILIES: readonly Family[] = [
  deepseekV2,
  deepseekV3,
  deepseekV32,
  glmMoeDsa,
  glm4MoeLite,
  axk1,
  mistral4,
  longcatFlash,
  minicpm3,
  youtu,
];

/** `model_type` values this version can run, those of wrappers among them. */
export const SUPPORTED_MODEL_TYPES: readonly string[] = [...FAMILIES.flatMap(({ modelTypes }) => modelTypes), ...WRAPPERS];

/** An object of `config.json` that describes a model. */
interface Described {
  readonly config: Readonly<Record<string, unknown>>;
  /** Where its fields are, as errors name them. */
  readonly path: string;
  /** How the file is named in errors. */
  readonly file: string;
}

/**
 * Reads the text of a `config.json`.
 *
 * @param file how the file is named in errors
 * @throws {LatentmeshError} `invalid_config` (not JSON, a field missing, of the wrong type or contradicting another) or `unsupported` (`model_type`)
 */
export function parseModelConfig(text: string, file: string): ModelSpec {
  const whole = parseObject(text, file);
  const modelType = modelTypeOf({ config: whole, path: "", file });
  if (!WRAPPERS.includes(modelType)) return readFamily(modelType, { config: whole, path: "", file });
  const inner = object.safeParse(whole.text_config);
  if (!inner.success) throw invalid(file, "text_config", "is missing; it describes the text model");
  const described = { config: textConfig(whole, inner.data), path: "text_config.", file };
  const spec = readFamily(modelTypeOf(described), described);
  return { ...spec, tensorNames: prefixed(spec.tensorNames, WRAPPED_PREFIX) };
}

function modelTypeOf({ config: { model_type: modelType }, path, file }: Described): string {
  if (typeof modelType !== "string") throw invalid(file, `${path}model_type`, "is missing; it says which architecture this is");
  return modelType;
}

function readFamily(modelType: string, { config, path, file }: Described): ModelSpec {
  const known = modelType.toLowerCase();
  const isRefused = Object.hasOwn(REFUSED, known);
  const family = familyOf(modelType) ?? (isRefused ? undefined : originOf(config));
  if (family === undefined) {
    const missing = isRefused ? `: it ${REFUSED[known]}, which is missing here` : "";
    throw new LatentmeshError(
      "unsupported",
      `Cannot load ${file}: ${path}model_type "${modelType.slice(0, 64)}" is not supported${missing} (supported: ${
        SUPPORTED_MODEL_TYPES.join(", ")
      })`,
      { param: `${path}model_type` },
    );
  }
  try {
    return family.read(config);
  } catch (error) {
    if (error instanceof FieldError) throw invalid(file, path + error.field, error.message);
    if (error instanceof z.ZodError) {
      const issue = error.issues[0];
      const isMissing = config[String(issue.path[0])] === undefined;
      throw invalid(file, path + issue.path.join("."), isMissing ? "is missing" : `is not usable: ${issue.message}`);
    }
    throw error;
  }
}

function familyOf(modelType: string): Family | undefined {
  return FAMILIES.find(({ modelTypes }) => modelTypes.includes(modelType));
}

/** The family whose architecture a file names. */
function originOf({ architectures }: Described["config"]): Family | undefined {
  const name: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  return typeof name === "string" ? FAMILIES.find((family) => family.architectures.includes(name)) : undefined;
}

const object = z.record(z.string(), z.unknown());

function parseObject(text: string, file: string): Record<string, unknown> {
  try {
    return object.parse(JSON.parse(text));
  } catch (cause) {
    throw new LatentmeshError("invalid_config", `Cannot read ${file}: it is not a JSON object`, { cause });
  }
}

function invalid(file: string, field: string, problem: string): LatentmeshError {
  return new LatentmeshError("invalid_config", `Cannot load ${file}: "${field}" ${problem}`, { param: field });
}

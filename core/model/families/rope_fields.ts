/**
 * Rotary embedding as `config.json` asks for it, in the old spelling (`rope_scaling` beside `rope_theta`) and the new one (`rope_parameters`).
 *
 * @module
 */
import { z } from "zod";
import { yarnMscale } from "../rope.ts";
import type { LongRopeSpec, RopeSpec, YarnSpec } from "../spec.ts";
import { FieldError, positions, requireField } from "./field_checks.ts";

const mscale = z.number().min(-100).max(100).nullish();
const theta = z.number().min(1).max(1e12);
const factors = z.array(z.number().min(1e-6).max(1e6)).max(4096).optional();

const rotaryShare = z.number().positive().max(1).nullish();

const ropeParameters = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: theta.optional(),
  factor: z.number().min(1e-3).max(1e6).nullish(),
  original_max_position_embeddings: positions.optional(),
  beta_fast: z.number().positive().max(1e6).nullish(),
  beta_slow: z.number().positive().max(1e6).nullish(),
  mscale,
  mscale_all_dim: mscale,
  attention_factor: z.number().positive().max(1e3).nullish(),
  truncate: z.boolean().optional(),
  short_factor: factors,
  long_factor: factors,
  partial_rotary_factor: rotaryShare,
});

type RopeParameters = z.infer<typeof ropeParameters>;

/** zod shape of what all families read. */
export const ROPE_FIELDS = {
  rope_theta: theta.nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  // Some have these two here instead.
  original_max_position_embeddings: positions.nullish(),
  partial_rotary_factor: rotaryShare,
} as const;

/** What {@link ROPE_FIELDS} parses to, and the sizes that it is about. */
export type RopeFields = z.infer<z.ZodObject<typeof ROPE_FIELDS>> & {
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly max_position_embeddings: number;
};

/** What a family does unless a file says otherwise. */
export interface RopeHabits {
  /** See {@link RopeSpec.interleaved}. */
  readonly interleaved: boolean;
  /** Base of the frequencies; 10,000 by default. */
  readonly theta?: number;
}

/**
 * Reads the rotary embedding.
 *
 * @returns also what queries' products with keys are multiplied by on top of 1/√width
 * @throws {FieldError} where fields contradict each other, are missing, or ask for a kind that is not supported
 */
export function ropeOf(
  fields: RopeFields,
  { interleaved, theta: usual = 10_000 }: RopeHabits,
): { readonly spec: RopeSpec; readonly scaleFactor: number } {
  const { name, parameters, kind } = parametersOf(fields, fields.rope_theta ?? usual);
  const theta = parameters.rope_theta ?? fields.rope_theta ?? usual;
  const spec = { width: fields.qk_rope_head_dim, theta, interleaved, yarn: null, longRope: null };
  const allDim = parameters.mscale_all_dim;
  const scaleFactor = (factor: number) => allDim ? yarnMscale(factor, allDim) ** 2 : 1;
  switch (kind) {
    case "default":
      return { spec, scaleFactor: 1 };
    case "yarn": {
      const yarn = yarnOf(parameters, name);
      return { spec: { ...spec, yarn }, scaleFactor: scaleFactor(yarn.factor) };
    }
    case "longrope": {
      const { factor, ...longRope } = longRopeOf(parameters, name, fields);
      return { spec: { ...spec, longRope }, scaleFactor: scaleFactor(factor) };
    }
    default:
      throw new FieldError(`${name}.rope_type`, `is "${kind}"; only "default", "yarn" and "longrope" are supported`);
  }
}

/** What is said of the embedding, in one of the two spellings, or in both alike. @param theta where neither says */
function parametersOf(
  fields: RopeFields,
  theta: number,
): { readonly name: "rope_parameters" | "rope_scaling"; readonly parameters: RopeParameters; readonly kind: string } {
  const { rope_scaling: old, rope_parameters: current, original_max_position_embeddings: original } = fields;
  if (old != null && current != null) requireAlike(old, current, theta);
  const name = current != null ? "rope_parameters" : "rope_scaling";
  const parameters = { ...(current ?? old) };
  const kind = kindOf(parameters);
  const nested = Object.keys(parameters).find((key) => z.record(z.string(), z.unknown()).safeParse(parameters[key]).success);
  requireField(nested === undefined, `${name}.${nested}`, "is an object; embeddings that differ between kinds of layers are not supported");
  checkRotaryShare(fields, parameters, name);
  if (original == null || kind === "default") return { name, parameters, kind };
  const inner = parameters.original_max_position_embeddings ?? original;
  requireField(
    inner === original,
    "original_max_position_embeddings",
    `is ${original}, but that of ${name} is ${inner}; keep one of them`,
  );
  return { name, parameters: { ...parameters, original_max_position_embeddings: original }, kind };
}

function kindOf({ rope_type: kind, type }: RopeParameters): string {
  return kind ?? type ?? "default";
}

/** transformers takes the old spelling where there are both, others the new one. */
function requireAlike(old: RopeParameters, current: RopeParameters, rope_theta: number): void {
  const [before, now] = [old, current].map((said): RopeParameters => ({ rope_theta, ...said, type: undefined, rope_type: kindOf(said) }));
  const keys = ["rope_type", ...Object.keys(before), ...Object.keys(now)];
  const differs = keys.find((key) => JSON.stringify(before[key] ?? null) !== JSON.stringify(now[key] ?? null));
  requireField(differs === undefined, "rope_scaling", `contradicts rope_parameters in "${differs}"; keep one of them`);
}

/** The share can only be that of the rotated part, of that part or of a whole head. */
function checkRotaryShare(fields: RopeFields, { partial_rotary_factor: inner }: RopeParameters, name: string): void {
  const width = fields.qk_nope_head_dim + fields.qk_rope_head_dim;
  for (const [field, share] of [["partial_rotary_factor", fields.partial_rotary_factor], [`${name}.partial_rotary_factor`, inner]] as const) {
    requireField(
      share == null || share === 1 || Math.trunc(width * share) === fields.qk_rope_head_dim,
      field,
      `is ${share}, which of ${width} dimensions does not make qk_rope_head_dim (${fields.qk_rope_head_dim})`,
    );
  }
}

function yarnOf(parameters: RopeParameters, name: string): YarnSpec {
  const { factor, original_max_position_embeddings: original, mscale, mscale_all_dim: allDim } = parameters;
  if (factor == null) throw new FieldError(`${name}.factor`, "is missing; yarn needs it");
  if (original === undefined) throw new FieldError(`${name}.original_max_position_embeddings`, "is missing; yarn needs it");
  const implied = mscale && allDim ? yarnMscale(factor, mscale) / yarnMscale(factor, allDim) : yarnMscale(factor, 1);
  return {
    factor,
    originalMaxPositions: original,
    betaFast: parameters.beta_fast ?? 32,
    betaSlow: parameters.beta_slow ?? 1,
    truncate: parameters.truncate ?? true,
    attentionFactor: parameters.attention_factor ?? implied,
  };
}

/** Both lists are needed where the model is for more than its original context: which of them applies is decided by the length of each sequence. */
function longRopeOf(
  parameters: RopeParameters,
  name: string,
  { qk_rope_head_dim: width, max_position_embeddings: most }: RopeFields,
): LongRopeSpec & { readonly factor: number } {
  const original = parameters.original_max_position_embeddings ?? most;
  for (const field of ["short_factor", "long_factor"] as const) {
    const values = parameters[field];
    if (values === undefined) throw new FieldError(`${name}.${field}`, "is missing; longrope needs it");
    requireField(values.length === width / 2, `${name}.${field}`, `has ${values.length} factors for the ${width / 2} pairs of qk_rope_head_dim`);
  }
  const factor = parameters.factor ?? most / original;
  requireField(original > 1, `${name}.original_max_position_embeddings`, `is ${original}; longrope divides by its logarithm`);
  const implied = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  const [shortList, longList] = [parameters.short_factor!, parameters.long_factor!];
  const both = most > original && shortList.some((divisor, i) => divisor !== longList[i]);
  return {
    factor,
    divisors: most > original ? longList : shortList,
    short: both ? { divisors: shortList, positions: original } : null,
    attentionFactor: parameters.attention_factor ?? implied,
  };
}

/**
 * `generation_config.json`: where a checkpoint says how it likes to be sampled and where it ends.
 *
 * @module
 */
import { z } from "zod";
import type { SamplingDefaults } from "../engine.ts";
import { LatentmeshError } from "../errors.ts";

const schema = z.object({
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().positive().max(1).nullish(),
  top_k: z.int().nonnegative().nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  eos_token_id: z.union([z.int().nonnegative(), z.array(z.int().nonnegative()).max(1024)]).nullish(),
});

/** What is used of the file. */
export interface GenerationConfig {
  readonly sampling: SamplingDefaults;
  readonly eosTokens: readonly number[];
}

/**
 * @param text the file's text; null if there is none
 * @throws {LatentmeshError} `invalid_config` naming the field
 */
export function parseGenerationConfig(text: string | null, file: string): GenerationConfig {
  const fields = parse(text ?? "{}", file);
  const given = <T>(value: T | null | undefined): T | undefined => value ?? undefined;
  return {
    // do_sample: false describes a greedy model; API users still choose for themselves.
    sampling: fields.do_sample === false ? {} : withoutUndefined({
      temperature: given(fields.temperature),
      topP: given(fields.top_p),
      topK: given(fields.top_k),
      repetitionPenalty: given(fields.repetition_penalty),
    }),
    eosTokens: fields.eos_token_id == null ? [] : [fields.eos_token_id].flat(),
  };
}

function withoutUndefined(defaults: SamplingDefaults): SamplingDefaults {
  return Object.fromEntries(Object.entries(defaults).filter(([, value]) => value !== undefined));
}

function parse(text: string, file: string): z.infer<typeof schema> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? `"${cause.issues[0].path.join(".")}" is not usable: ${cause.issues[0].message}` : "it is not JSON";
    throw new LatentmeshError("invalid_config", `Cannot load ${file}: ${problem}`, { cause });
  }
}

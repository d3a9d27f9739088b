/**
 * The configuration file (YAML or JSON) and how flags and environment complete it.
 *
 * @module
 */
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { readEnv } from "../core/env.ts";
import { LatentmeshError, messageOf } from "../core/errors.ts";

/** The file. Every key has a flag of the same meaning; flags win over the file, the file over the environment. */
export const configSchema = z.strictObject({
  model: z.string().min(1).describe("model directory in Hugging Face form").optional(),
  device: z.enum(["auto", "deno", "dawn", "cpu"]).describe("auto takes a hardware GPU if there is one, else the CPU").optional(),
  weights: z.enum(["keep", "q8", "q4"]).describe("what is done to the linear weights of the layers").optional(),
  cache: z.strictObject({
    maxTokens: z.int().min(64).max(2 ** 26).describe("tokens all sequences together may hold in the latent cache").optional(),
    dtype: z.enum(["f16", "f32"]).describe("precision of cached latents; f32 on the CPU and f16 on GPUs by default").optional(),
  }).optional(),
  prefill: z.strictObject({
    chunk: z.int().min(1).max(8192).describe("prompt tokens computed at a time").optional(),
  }).optional(),
  server: z.strictObject({
    host: z.string().min(1).describe("address to listen on").optional(),
    port: z.int().min(0).max(65535).describe("port to listen on; 0 takes a free one").optional(),
    modelName: z.string().min(1).describe("name of the model in the API; by default the directory's").optional(),
    shutdownTimeout: z.number().min(0).max(3600).describe("seconds that running requests get to finish on SIGTERM").optional(),
  }).optional(),
}).describe("Latentmesh configuration");

/** A parsed file. */
export type Config = z.output<typeof configSchema>;

/** Everything resolved. */
export interface Settings {
  readonly model: string;
  readonly device: NonNullable<Config["device"]>;
  readonly weights: NonNullable<Config["weights"]>;
  readonly maxTokensTotal: number | undefined;
  readonly cacheDtype: "f16" | "f32" | undefined;
  readonly prefillChunk: number | undefined;
  readonly dawn: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly modelName: string | undefined;
  /** Seconds. */
  readonly shutdownTimeout: number;
}

/** The embedded model. */
export const EMBEDDED_MODEL: URL = new URL("../models/tiny-mla", import.meta.url);

/**
 * Parses the text of a configuration file.
 *
 * @throws {LatentmeshError} `invalid_config` that names the path in the file
 */
export function parseConfig(text: string, file: string): Config {
  let value: unknown;
  try {
    // YAML 1.2 contains JSON.
    value = parseYaml(text) ?? {};
  } catch (cause) {
    throw new LatentmeshError("invalid_config", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
  return checkConfig(value, file);
}

/** Checks a configuration that came from a file or from flags. */
export function checkConfig(value: unknown, source: string): Config {
  const parsed = configSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = [...issue.path, ...(issue.code === "unrecognized_keys" ? [issue.keys[0]] : [])].join(".");
  const problem = issue.code === "unrecognized_keys" ? "there is no such setting" : issue.message;
  throw new LatentmeshError("invalid_config", `Cannot use ${source}: ${path === "" ? "" : `${path}: `}${problem}`, { param: path });
}

/** Flags over file over environment over defaults. */
export function resolveSettings(flags: Config, file: Config, env: (name: string) => string | undefined): Settings {
  const pick = <T>(...values: (T | undefined)[]): T | undefined => values.find((value) => value !== undefined);
  return {
    model: pick(flags.model, file.model, readEnv("LATENTMESH_MODEL", env)) ?? decodeURIComponent(EMBEDDED_MODEL.pathname),
    device: pick(flags.device, file.device, readEnv("LATENTMESH_DEVICE", env)) ?? "auto",
    weights: pick(flags.weights, file.weights) ?? "keep",
    maxTokensTotal: pick(flags.cache?.maxTokens, file.cache?.maxTokens),
    cacheDtype: pick(flags.cache?.dtype, file.cache?.dtype),
    prefillChunk: pick(flags.prefill?.chunk, file.prefill?.chunk),
    dawn: readEnv("LATENTMESH_DAWN", env),
    host: pick(flags.server?.host, file.server?.host) ?? "127.0.0.1",
    port: pick(flags.server?.port, file.server?.port) ?? 8080,
    modelName: pick(flags.server?.modelName, file.server?.modelName),
    shutdownTimeout: pick(flags.server?.shutdownTimeout, file.server?.shutdownTimeout) ?? 10,
  };
}

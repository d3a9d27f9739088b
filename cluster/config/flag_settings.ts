/**
 * Which setting of the cluster file each flag sets. Errors name both, since nobody who wrote a flag has a file.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";

/** Paths in the cluster file, by commander's names of flags. */
export const SETTING_OF = {
  model: "model",
  device: "device",
  threads: "threads",
  weights: "weights",
  ranks: "decode.ranks",
  latentGroups: "decode.latentGroups",
  attention: "decode.attention",
  basis: "decode.basis",
  lambda: "decode.lambda",
  halo: "decode.halo",
  mu: "decode.mu",
  paper: "decode.paper",
  groups: "decode.groups",
  exchange: "decode.exchange",
  feedForward: "decode.feedForward",
  maxBatch: "decode.maxBatch",
  speculate: "decode.speculate",
  pingPong: "decode.pingPong",
  prefillChunk: "prefill.chunk",
  prefillWindow: "prefill.window",
  prefillWorkers: "prefill.workers",
  prefillRanks: "prefill.ranks",
  mixed: "mixed.workers",
  maxStepMs: "mixed.maxStepMs",
  maxTokensTotal: "cache.maxTokens",
  cacheMemory: "cache.memory",
  cacheDtype: "cache.dtype",
  indexCache: "cache.indexDtype",
  host: "server.host",
  port: "server.port",
  modelName: "server.modelName",
  shutdownTimeout: "server.shutdownTimeout",
  apiKey: "server.apiKeys",
  allowedOrigin: "server.allowedOrigins",
  insecure: "cluster.insecure",
  gpus: "cluster.hosts",
  listen: "cluster.listen",
  strict: "cluster.strict",
  registry: "cell.registry",
  advertiseUrl: "cell.advertiseUrl",
  cellId: "cell.id",
  frontKey: "cell.frontKey",
} as const;

/** A flag that sets one. */
export type SettingFlag = keyof typeof SETTING_OF;

/** `--max-batch` of `maxBatch`. */
export function flagName(flag: string): string {
  return `--${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Of a front, which has no cluster file. */
const LIMITS = { concurrent: "server.limits.concurrent", requestsPerMinute: "server.limits.requestsPerMinute" };

/** A text about settings for whoever has flags alone: settings are called by these. */
export function inFlags(text: string): string {
  const flags = Object.entries({ ...SETTING_OF, ...LIMITS }).filter(([, setting]) => setting.includes("."));
  return flags.reduce((text, [flag, setting]) => {
    const name = flagName(flag);
    return text.replaceAll(`${setting} (${name})`, name).replaceAll(setting, name);
  }, text);
}

/** Paths of settings where an error tells of several, each in a line of its own; see `checkConfig` and `Problems`. */
export const PROBLEM_LINES = /(?<=^(?: {2}|Cannot use ))[\w.]+(?=: )/gm;

/** The same error, naming the flag where the setting that is wrong was given by one. */
export function naming(flags: Partial<Record<SettingFlag, unknown>>, error: unknown): unknown {
  if (!(error instanceof LatentmeshError) || error.param === undefined) return error;
  // Also where one of a list is wrong.
  const flagOf = (path: string) =>
    (Object.keys(SETTING_OF) as SettingFlag[]).find((flag) => `${path}.`.startsWith(`${SETTING_OF[flag]}.`) && flags[flag] !== undefined);
  const withFlag = (path: string, flag: SettingFlag | undefined) =>
    flag === undefined || flag === path ? path : `${flagName(flag)} (${path} in a cluster file)`;
  if (error.message.includes("\n")) {
    const message = error.message.replaceAll(PROBLEM_LINES, (path) => withFlag(path, flagOf(path)));
    return new LatentmeshError(error.code, message, { param: error.param, cause: error });
  }
  const flag = flagOf(error.param);
  // Where both have the same name, the error says it already.
  if (flag === undefined || flag === error.param || error.message.includes(flagName(flag))) return error;
  const message = error.message.replace(error.param, withFlag(error.param, flag));
  return new LatentmeshError(error.code, message, { param: error.param, cause: error });
}

/**
 * Several models of one server: `models` of a cluster file.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Config } from "./config_type.ts";
import { LOCAL_HOST } from "./host_places.ts";
import { Problems } from "./problems.ts";

/** One of them. @template S settings of one model */
export interface ModelEntry<S> {
  /** In the API. */
  readonly name: string;
  readonly settings: S;
  /** Seconds without a request after which it is unloaded. */
  readonly idleSeconds: number;
  /** Whether it is loaded at the start, and never unloaded. */
  readonly keepLoaded: boolean;
}

/** All of them. @template S settings of one model */
export interface SeveralModels<S> {
  /** In the order of the file: the first is for requests that name none. */
  readonly models: readonly ModelEntry<S>[];
  /** At a time; undefined: as many as memory allows. */
  readonly maxLoaded: number | undefined;
}

/** Seconds, unless somebody says otherwise. */
export const IDLE_SECONDS = 300;

/**
 * The settings of each; null where there is one model. What is beside `models` holds for all that do not say otherwise.
 *
 * @param resolve settings of a configuration of one model
 * @throws {LatentmeshError} `invalid_config` that names the setting
 */
export function resolveModels<S>({ models, ...shared }: Config, resolve: (config: Config) => S): SeveralModels<S> | null {
  const { maxLoaded, idleSeconds = IDLE_SECONDS, ...server } = shared.server ?? {};
  if (models === undefined) {
    const param = maxLoaded !== undefined ? "maxLoaded" : shared.server?.idleSeconds !== undefined ? "idleSeconds" : null;
    if (param !== null) refuse(`server.${param}`, "it is of several models (models), and there is one; leave it out");
    return null;
  }
  if (shared.cell?.registry !== undefined) {
    refuse("cell.registry", "fronts know cells by their one model, and models names several; serve each by itself, or leave it out");
  }
  if (shared.model !== undefined) refuse("model", "models says what is served; leave one of the two out");
  if (server.modelName !== undefined) refuse("server.modelName", "models have their names in models; leave it out");
  if (shared.cluster?.listen !== undefined || shared.cluster?.hosts?.some(({ join }) => join === true)) {
    refuse("models", "hosts that join compute one model; leave out cluster.listen and hosts that join, or serve one model");
  }
  const kept = Object.values(models).filter(({ keepLoaded }) => keepLoaded === true).length;
  // Where all are kept, there is no room that others need.
  const needed = kept === Object.keys(models).length ? kept : kept + 1;
  if (maxLoaded !== undefined && maxLoaded < needed) {
    refuse("server.maxLoaded", `it is ${maxLoaded}, and ${kept} are kept loaded (keepLoaded): ${needed} is the least`);
  }
  const problems = new Problems();
  const entries = Object.entries(models).map(([name, { gpus, idleSeconds: ownIdle, keepLoaded = false, ...own }]): ModelEntry<S> | null => {
    const host = shared.cluster?.hosts?.[0] ?? LOCAL_HOST;
    const cluster = gpus === undefined ? shared.cluster : { ...shared.cluster, hosts: [{ ...host, gpus }] };
    const config = { ...merged(shared, own), server: { ...server, modelName: name }, cluster };
    return problems.of(() => ({ name, settings: named(name, () => resolve(config)), idleSeconds: ownIdle ?? idleSeconds, keepLoaded }), null);
  });
  problems.throwAll();
  return { models: entries as ModelEntry<S>[], maxLoaded };
}

/** Sections of one model over those of all. */
function merged(shared: Config, own: Config): Config {
  const section = <K extends "decode" | "prefill" | "mixed" | "cache">(key: K) =>
    own[key] === undefined ? shared[key] : { ...shared[key], ...own[key] };
  return { ...shared, ...own, decode: section("decode"), prefill: section("prefill"), mixed: section("mixed"), cache: section("cache") };
}

/** What is wrong with one says which it is about. */
function named<T>(name: string, resolve: () => T): T {
  try {
    return resolve();
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    const lines = error.message.split("\n").map((line) => `Of model "${name}": ${line}`);
    throw new LatentmeshError(error.code, lines.join("\n"), { param: `models.${name}`, cause: error });
  }
}

/** For what takes one model. @throws {LatentmeshError} `invalid_config` if there are several */
export function refuseSeveral({ several }: { readonly several: SeveralModels<unknown> | null }, what: string): void {
  if (several !== null) refuse("models", `${what} takes one model, and the file names ${several.models.length}; give it one of them`);
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: ${problem}`, { param });
}

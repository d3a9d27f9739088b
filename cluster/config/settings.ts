/**
 * Everything resolved: flags over file over environment over defaults.
 *
 * @module
 */
import { definedOnly, merge } from "./merge.ts";
import { embeddedDirectory } from "./embedded_model.ts";
import type { HubName } from "../hub/hub_name.ts";
import type { CacheDtype, IndexDtype } from "../../core/cache/cache_dtype.ts";
import type { DeviceTuning } from "../../core/device_kind.ts";
import { readEnv, readTuning, resolveSecret } from "../../core/env.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { isSynthetic, parseSynthetic } from "../../core/model/synthetic/name.ts";
import { needsCalibration, type Scheme, SCHEME_DEFAULTS } from "../../core/tpla/scheme.ts";
import type { Tls } from "./tls.ts";
import type { Speculation } from "../../core/speculation/speculation.ts";
import { checkConfig, type Config, type HostConfig } from "./config.ts";
import { advertisedHost, type CellSettings, resolveCell } from "./cell_settings.ts";
import { checkRoles, DECODE_RANKS, LOCAL_HOST, unitCounts } from "./host_places.ts";
import { type MixedSettings, resolveMixed } from "./mixed_units.ts";
import { resolveModels, type SeveralModels } from "./several_models.ts";
import { BEARER, LEAST_SECRET } from "./secrets.ts";
import { Problems } from "./problems.ts";
import { withoutEffect } from "./without_effect.ts";

/** Everything resolved. */
export interface Settings {
  /** As the user calls it; a directory once it has been fetched. */
  readonly model: string;
  /** What it is called on the hub that it was fetched from. */
  readonly hub?: HubName;
  readonly device: NonNullable<Config["device"]>;
  readonly weights: NonNullable<Config["weights"]>;
  readonly maxTokensTotal: number | undefined;
  /** Fraction of what devices have left that the cache takes; `fitCache` turns it into tokens. */
  readonly cacheMemory: number | undefined;
  readonly cacheDtype: CacheDtype | undefined;
  readonly indexDtype: IndexDtype | undefined;
  readonly prefillChunk: number | undefined;
  readonly prefillWindow: number | undefined;
  readonly dawn: string | undefined;
  readonly tuning: DeviceTuning;
  readonly host: string;
  readonly port: number;
  readonly modelName: string | undefined;
  /** Names under which clients may ask; undefined: any. */
  readonly allowedHosts: readonly string[] | undefined;
  readonly allowedOrigins: readonly string[];
  readonly maxBodyBytes: number | undefined;
  /** What one API key may do. */
  readonly limits: { readonly concurrent?: number; readonly requestsPerMinute?: number } | undefined;
  /** Connections of clients, where the configuration says. */
  readonly connections: { readonly total?: number; readonly perAddress?: number };
  /** Requests that may wait, of all API keys and of each. */
  readonly maxWaiting: number;
  readonly maxWaitingPerKey: number;
  /** Seconds. */
  readonly shutdownTimeout: number;
  /** Keys that clients must present; empty: none. */
  readonly apiKeys: readonly string[];
  readonly decode: DecodeSettings;
  readonly prefill: {
    readonly workers: number;
    readonly ranks: number;
    /** Prompt tokens whose whole latents a prefill unit keeps, or a mixed one that generates from slices; undefined: see `planCache`. */
    readonly cacheTokens: number | undefined;
  };
  readonly mixed: MixedSettings;
  /** Whether it was configured which units there are; else they are a default that `serve` may replace by what suits the machine. */
  readonly unitsGiven: boolean;
  readonly cluster: ClusterSettings;
  /** Models that are served instead of this one, whose settings are what they have in common; null: there is this one. */
  readonly several: SeveralModels<Settings> | null;
  readonly cell: CellSettings;
}

/** Decode groups. */
export interface DecodeSettings {
  readonly scheme: Scheme;
  readonly groups: number;
  readonly wire: "f32" | "f16";
  /** How ranks give each other their parts of sums; `auto`: through shared memory where all ranks of a group have it. */
  readonly exchange: "auto" | "shared-memory" | "websocket";
  /** `auto` until `fit_feed_forward.ts` has decided, by what devices have left. */
  readonly feedForward: "auto" | "sharded" | "replicated";
  readonly deadlineMs: number;
  /** Whether halves of a step run side by side. */
  readonly pingPong: boolean;
  /** Sequences that a group decodes together. */
  readonly maxBatch: number;
  /** How tokens are guessed, where a request does not say. */
  readonly speculate: Speculation;
}

/** Where workers are and how they join. */
export interface ClusterSettings {
  /** Shared with workers of other hosts; made for each run where it is not configured. */
  readonly token: string | undefined;
  /** `ws://` or `wss://` address for workers of other hosts; undefined: there are none. */
  readonly listen: string | undefined;
  /** Paths. */
  readonly tls: Tls;
  readonly hosts: readonly HostConfig[];
  /** Whether the cluster ends when one of its units cannot be kept up, instead of going on with the others. */
  readonly strict: boolean;
}

/** Names of this machine. */
const LOOPBACK_HOSTS: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

/** Of random weights, all directions of the latent are alike. */
const SYNTHETIC_BASIS = "identity";

/** Milliseconds of silence after which a rank ends the step. */
const DEADLINE = 2000;

/** Requests that may wait. */
const MOST_WAITING = 1024;

/** Most tokens of a cache. */
export const MOST_CACHE_TOKENS: number = 2 ** 26;

/** Where HTTP is served, unless somebody says otherwise. */
export const DEFAULT_PORT = 8080;

/** Flags over file over environment over defaults. @throws {LatentmeshError} `invalid_config` that names the setting */
export function resolveSettings(flags: Config, file: Config, env: (name: string) => string | undefined): Settings {
  const config = checkConfig(merge(file, flags), "the configuration");
  const decode = config.decode ?? {};
  const device = decode.device ?? config.device ?? readEnv("LATENTMESH_DEVICE", env) ?? "auto";
  const host = config.server?.host ?? "127.0.0.1";
  const tuning = readTuning(env);
  const model = config.model ?? readEnv("LATENTMESH_MODEL", env) ?? embeddedDirectory();
  const problems = new Problems();
  problems.check(() => refuseUnsupported(config, model));
  // Whoever gave keys that cannot be used has not meant to be open.
  const apiKeys = problems.of(() => resolveKeys(config.server?.apiKeys, env), [""]);
  const maxWaiting = config.server?.maxWaiting ?? MOST_WAITING;
  const units = problems.of(() => resolveMixed(config), null);
  const { attention, ...mixed } = units ?? NO_UNITS;
  if (units !== null) {
    problems.check(
      ...withoutEffect(config, { attention, mixed, device, defaultBasis: isSynthetic(model) ? SYNTHETIC_BASIS : SCHEME_DEFAULTS.basis }),
    );
  }
  const settings: Settings = {
    model,
    device,
    weights: config.weights ?? "keep",
    maxTokensTotal: config.cache?.maxTokens,
    cacheMemory: config.cache?.memory,
    cacheDtype: config.cache?.dtype,
    indexDtype: config.cache?.indexDtype,
    prefillChunk: config.prefill?.chunk,
    prefillWindow: config.prefill?.window,
    dawn: readEnv("LATENTMESH_DAWN", env),
    tuning: { ...tuning, threads: config.threads ?? tuning.threads },
    host,
    port: config.server?.port ?? DEFAULT_PORT,
    modelName: config.server?.modelName,
    allowedHosts: config.server?.allowedHosts ?? (isLoopback(host) ? [...LOOPBACK_HOSTS, host, ...advertisedHost(config)] : undefined),
    allowedOrigins: config.server?.allowedOrigins?.map(originOf) ?? [],
    maxBodyBytes: config.server?.maxBodyBytes,
    limits: config.server?.limits,
    connections: config.server?.connections ?? {},
    maxWaiting,
    maxWaitingPerKey: config.server?.maxWaitingPerKey ?? (apiKeys.length > 1 ? Math.ceil(maxWaiting / 2) : maxWaiting),
    shutdownTimeout: config.server?.shutdownTimeout ?? 10,
    apiKeys,
    decode: {
      scheme: {
        ...SCHEME_DEFAULTS,
        ...(isSynthetic(model) ? { basis: SYNTHETIC_BASIS } : {}),
        attention,
        ...definedOnly({ basis: decode.basis, lambda: decode.lambda, mu: decode.mu, paper: decode.paper }),
        ranks: mixed.workers > 0 ? mixed.ranks : decode.ranks ?? DECODE_RANKS,
        latentGroups: decode.latentGroups,
        halo: decode.halo === "auto" ? undefined : decode.halo,
      },
      groups: mixed.workers > 0 ? 0 : decode.groups ?? 1,
      wire: decode.wire ?? "f32",
      exchange: decode.exchange ?? "auto",
      feedForward: decode.feedForward ?? "auto",
      deadlineMs: decode.deadlineMs ?? DEADLINE,
      pingPong: decode.pingPong ?? false,
      maxBatch: decode.maxBatch ?? 64,
      speculate: decode.speculate ?? "auto",
    },
    prefill: {
      workers: mixed.workers > 0 ? 0 : config.prefill?.workers ?? unitCounts(config).prefill,
      ranks: config.prefill?.ranks ?? 1,
      cacheTokens: config.prefill?.cacheTokens,
    },
    mixed,
    unitsGiven: saysUnits(config),
    cluster: problems.of(() => resolveCluster(config.cluster ?? {}, env), NO_CLUSTER),
    cell: problems.of(
      () => resolveCell(config, { isLocal: isLoopback(host), apiKeys }, env),
      resolveCell({}, { isLocal: true, apiKeys: [] }, () => undefined),
    ),
    several: null,
  };
  problems.check(
    () =>
      units !== null &&
      checkRoles(settings.cluster.hosts, { mixed: mixed.workers, decode: settings.decode.groups, prefill: settings.prefill.workers }),
    () => refuseOpen(settings, config.cluster?.insecure === true),
  );
  // What holds for all is not told of again for each.
  problems.throwAll();
  return { ...settings, several: resolveModels(config, (one) => resolveSettings({}, one, env)) };
}

/** What is gone on with where units or hosts cannot be used. */
const NO_UNITS: ReturnType<typeof resolveMixed> = { workers: 0, ranks: 1, maxStepMs: undefined, attention: SCHEME_DEFAULTS.attention };
const NO_CLUSTER: ClusterSettings = { token: undefined, listen: undefined, tls: {}, hosts: [LOCAL_HOST], strict: false };

function refuseOpen({ host, apiKeys }: Settings, insecure: boolean): void {
  if (isLoopback(host) || apiKeys.length > 0 || insecure) return;
  refuse("server.host", `${host} can be reached from outside; set server.apiKeys (--api-key), or cluster.insecure (--insecure) if that is meant`);
}

/** The same with mixed units in place of whatever units there are. @param units that attend exactly, unless they say otherwise */
export function asMixed(
  settings: Settings,
  { attention = "mla", ...units }: { readonly workers: number; readonly ranks: number; readonly attention?: Scheme["attention"] },
): Settings {
  const { decode, prefill, mixed } = settings;
  const { ranks } = units;
  const scheme: Scheme = attention === "mla"
    ? { ...SCHEME_DEFAULTS, attention, ranks }
    : { ...decode.scheme, attention, ranks, latentGroups: undefined };
  return {
    ...settings,
    decode: { ...decode, scheme, groups: 0, feedForward: "auto", pingPong: false },
    prefill: { ...prefill, workers: 0, ranks: 1, cacheTokens: attention === "mla" ? undefined : prefill.cacheTokens },
    mixed: { ...mixed, ...units },
    unitsGiven: true,
  };
}

/** The same with one mixed unit of one worker, of each model where there are several: for a process that serves alone. */
export function asOneMixed(settings: Settings): Settings {
  const { cluster, several, ...rest } = asMixed(settings, { workers: 1, ranks: 1 });
  const models = several?.models.map((model) => ({ ...model, settings: asOneMixed(model.settings) })) ?? [];
  return {
    ...rest,
    cluster: { ...cluster, listen: undefined, hosts: [LOCAL_HOST] },
    several: several === null ? null : { ...several, models },
  };
}

/** Whether a model is the embedded one. */
export function isEmbedded(model: string): boolean {
  return model === embeddedDirectory();
}

/** Whether a configuration says anything of which units there are, so that nothing is left to choose. */
function saysUnits({ decode = {}, prefill = {}, mixed, cluster }: Config): boolean {
  const { device: _, deadlineMs: __, maxBatch: ___, speculate: ____, ...units } = decode;
  const said = [...Object.values(units), mixed?.workers, mixed?.ranks, prefill.workers, prefill.ranks, prefill.cacheTokens];
  return said.some((value) => value !== undefined) || cluster?.hosts?.some(({ join, roles }) => join === true || roles !== undefined) === true;
}

function resolveCluster(cluster: NonNullable<Config["cluster"]>, env: (name: string) => string | undefined): ClusterSettings {
  const hosts = cluster.hosts ?? [LOCAL_HOST];
  const token = cluster.token === undefined ? undefined : resolveSecret(cluster.token, "cluster.token", env);
  if (token !== undefined && token.length < LEAST_SECRET) refuse("cluster.token", `it has ${token.length} characters; ${LEAST_SECRET} are the least`);
  const tls = cluster.tls ?? {};
  const strict = cluster.strict ?? false;
  if ((tls.cert === undefined) !== (tls.key === undefined)) refuse("cluster.tls", "cert and key belong together; set both, or neither");
  if (cluster.listen === undefined && (tls.cert ?? tls.ca) !== undefined) {
    refuse("cluster.tls", "it is for links to other hosts, and none can join; set cluster.listen, or leave tls out");
  }
  const joins = hosts.some(({ join }) => join === true);
  if (hosts.filter(({ join }) => join !== true).length > 1) refuse("cluster.hosts", "only one host can be this one; the others need join: true");
  if (new Set(hosts.map(({ name }) => name)).size < hosts.length) refuse("cluster.hosts", "two hosts have the same name");
  if (joins && cluster.listen === undefined) refuse("cluster.listen", "hosts join, so it must say where: host:port");
  if (joins && token === undefined) refuse("cluster.token", "hosts join, so they need a token: env:LATENTMESH_TOKEN");
  if (cluster.listen === undefined) return { token, listen: undefined, tls, hosts, strict };
  const match = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(cluster.listen);
  if (match === null) return refuse("cluster.listen", `"${cluster.listen}" is not host:port`);
  if (joins && /^(0\.0\.0\.0|\[::\])$/.test(match[1])) refuse("cluster.listen", "hosts join, so it must name an address that they can reach");
  const secure = tls.cert !== undefined && tls.key !== undefined;
  if (!isLoopback(match[1]) && !secure && cluster.insecure !== true) {
    refuse("cluster.tls", `${cluster.listen} can be reached from outside; set tls.cert and tls.key, or cluster.insecure: true if that is meant`);
  }
  return { token, listen: `${secure ? "wss" : "ws"}://${cluster.listen}`, tls, hosts, strict };
}

function resolveKeys(keys: string | readonly string[] | undefined, env: (name: string) => string | undefined): readonly string[] {
  if (keys === undefined) return [];
  const list = typeof keys === "string"
    ? resolveSecret(keys, "server.apiKeys", env).split(",")
    : keys.flatMap((key) => resolveSecret(key, "server.apiKeys", env).split(","));
  const trimmed = list.map((key) => key.trim()).filter((key) => key !== "");
  if (trimmed.some((key) => key.length < LEAST_SECRET)) refuse("server.apiKeys", `a key has fewer than ${LEAST_SECRET} characters`);
  if (trimmed.some((key) => !BEARER.test(key))) refuse("server.apiKeys", "a key may hold letters, digits and . _ ~ + / - only");
  return trimmed;
}

function refuseUnsupported({ decode = {}, cache }: Config, model: string): void {
  if (isSynthetic(model)) refuseCalibration(model, decode.paper === true ? "pca" : decode.basis);
  if (cache?.memory !== undefined && cache.maxTokens !== undefined) refuse("cache.memory", "cache.maxTokens says how large the cache is already");
}

/** Of a synthetic model's scheme. */
function refuseCalibration(model: string, basis: Scheme["basis"] | undefined): void {
  parseSynthetic(model);
  if (basis === undefined || !needsCalibration(basis)) return;
  refuse(
    "decode.basis",
    `${basis} needs a calibration, and random weights have nothing to calibrate; synthetic models take ${SYNTHETIC_BASIS} or hadamard`,
  );
}

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || /^127\./.test(host) || host === "::1" || host === "[::1]";
}

/** As browsers send it, without a slash at its end; schemes of applications have no origin but what they are written as. */
function originOf(url: string): string {
  return /^https?:/i.test(url) ? new URL(url).origin : url;
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use ${param}: ${problem}`, { param });
}

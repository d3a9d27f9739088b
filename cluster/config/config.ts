/**
 * The configuration file (YAML or JSON).
 *
 * @module
 */
import { ATTENTION_MODES } from "../../core/tpla/scheme.ts";
import { CACHE_DTYPES, INDEX_DTYPES } from "../../core/cache/cache_dtype.ts";
import { DEVICE_CHOICES, DEVICE_HELP } from "../../core/device_kind.ts";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { keysAt, pathsOf, problemOf } from "../../core/expected.ts";
import { suggest } from "../../core/suggest.ts";
import { SETTING_OF, type SettingFlag } from "./flag_settings.ts";
import { CELL_ID, cellUrl } from "../../core/registry/cell_record.ts";
import { REGISTRY_HELP } from "../registry/registry_help.ts";
import { SPECULATIONS } from "../../core/speculation/speculation.ts";
import type { Config } from "./config_type.ts";

export type { Config, HostConfig } from "./config_type.ts";

const device = z.enum(DEVICE_CHOICES).describe(DEVICE_HELP);
const address = z.string().min(1);
/** Numbers of a machine's GPUs. */
export const gpuList: z.ZodArray<z.ZodInt> = z.array(z.int().min(0).max(63)).min(1);

const hostSchema = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, dashes or underscores").describe("name of the machine"),
  gpus: gpuList.describe("GPUs to use, one worker each in turn; without it, whichever the driver prefers").optional(),
  join: z.boolean().describe("its workers are started there, with `deno task worker --join`; by default it is this host").optional(),
  roles: z.array(z.enum(["decode", "prefill", "mixed"])).min(1).describe("what its workers may be for; without it, anything").optional(),
});

/** What is said of one model. */
const modelShape = {
  model: z.string().min(1).describe(
    "model directory in Hugging Face form; or org/name[@revision], fetched from the hub (org/name:Q4_K_M for one of its GGUF files); or synthetic:NAME, random weights to measure with; by default the embedded tiny-mla",
  ).optional(),
  device: device.optional(),
  threads: z.number().int().min(1).max(256).describe("threads of a worker on device wasm; default: the cores, shared out among the workers of a host")
    .optional(),
  weights: z.enum(["keep", "q8", "q4"]).describe(
    "what is done to the linear weights of the layers, but for those that the model has in 4 bits already",
  ).optional(),
  decode: z.strictObject({
    ranks: z.int().min(1).max(64).describe("workers of a decode group").optional(),
    latentGroups: z.int().min(1).max(64).describe("slices of the latent; divides ranks. By default as many as ranks, and 1 for mla and dcp")
      .optional(),
    attention: z.enum(ATTENTION_MODES).describe(
      "tpla: every rank caches a slice of the latent; mla: heads are split, latents whole, and it is exact; dcp: every rank caches the latents of some tokens, and it is exact, too",
    ).optional(),
    basis: z.enum(["identity", "hadamard", "pca", "balanced"]).describe("basis of the latent for tpla").optional(),
    lambda: z.number().min(0).max(1).describe("weight of the values in the balanced basis").optional(),
    halo: z.union([z.literal("auto"), z.int().min(0)]).describe(
      "latent directions that every rank keeps as keys; auto: what a calibration has chosen for each layer, or else an eighth of the latent",
    )
      .optional(),
    mu: z.number().positive().describe("what the latent part of scores is multiplied by").optional(),
    paper: z.boolean().describe("the TPLA paper's scheme, for comparison: pca, norms over slices, no halo").optional(),
    wire: z.enum(["f32", "f16"]).describe("precision of activations between ranks").optional(),
    exchange: z.enum(["auto", "shared-memory", "websocket"])
      .describe("how ranks give each other their parts of sums; auto: through shared memory where all ranks of a group are on one host that has it")
      .optional(),
    feedForward: z.enum(["auto", "sharded", "replicated"])
      .describe("whether ranks share feed-forward blocks, or each has them whole and sums half as often; auto: whole where it fits and pays")
      .optional(),
    deadlineMs: z.number().min(10).max(600_000).describe("a rank that is silent for longer ends the step").optional(),
    device: device.describe("device of every worker; by default what the device beside decode says").optional(),
    groups: z.int().min(1).max(64).describe("decode groups").optional(),
    pingPong: z.boolean().describe("run halves of a step side by side: one computes while the other's sum is on the wire; takes working memory twice")
      .optional(),
    maxBatch: z.int().min(1).max(1024).describe("sequences that a group decodes together").optional(),
    speculate: z.enum(SPECULATIONS).describe(
      "whether steps verify several tokens at a time, guessed from what followed the same ones before (ngram) or by the model's multi-token-prediction layer (mtp), where that is likely to save time; the tokens are those that would come one by one. auto: in every way there is, by that layer if the checkpoint has one; mtp: it must have one. With ngram and off, it is not loaded",
    ).optional(),
  }).describe("decode groups: units that generate, each of one or more ranks").optional(),
  prefill: z.strictObject({
    workers: z.int().min(0).max(64).describe(
      "prefill units, by default 1, or as many as decode groups leave places of hosts that are listed; 0: the ranks of each decode group compute prompts among themselves, exactly",
    ).optional(),
    ranks: z.int().min(1).max(64).describe("workers of a prefill unit; heads are split among them").optional(),
    chunk: z.int().min(1).max(8192).describe("prompt tokens computed at a time; by default 64 on the CPU, and 512 to 4096 on GPUs, by their memory")
      .optional(),
    window: z.int().min(32).max(65536).describe("positions whose keys and values are expanded at a time; by default 512 to 4096, by a GPU's memory")
      .optional(),
    cacheTokens: z.int().min(64).max(2 ** 26).describe(
      "prompt tokens whose whole latents are kept, one context at least: by a prefill unit, by default as many as by a decode group; or by a group that computes prompts itself and generates from slices, by default as many as it holds, at most 32768",
    ).optional(),
  }).describe("prefill units, which compute prompts and hand them over, and how prompts are computed wherever they are").optional(),
  mixed: z.strictObject({
    workers: z.int().min(0).max(64)
      .describe(
        "units that compute prompts and generate: in one cache and exactly, or from slices of latents where decode.attention is tpla, or from shares of their tokens where it is dcp; instead of decode groups and prefill units",
      ).optional(),
    ranks: z.int().min(1).max(64).describe("workers of a mixed unit; heads are split among them, and latents for tpla and dcp").optional(),
    maxStepMs: z.number().min(1).max(60_000)
      .describe(
        "most milliseconds between two tokens of a running stream while prompts are computed beside it, some layers at a time, as far as one layer of the smallest chunk allows; by default about three of its steps",
      )
      .optional(),
  }).describe("mixed units, which compute prompts and generate").optional(),
  cache: z.strictObject({
    blockTokens: z.literal(64).describe("tokens of a cache block; kernels are made for 64").optional(),
    memory: z.number().gt(0).max(1).describe("how much the cache takes of what devices have left beside weights; instead of maxTokens").optional(),
    maxTokens: z.int().min(64).max(2 ** 26).describe(
      "tokens all sequences of a group together may hold in the latent cache; by default four contexts, at most 32768",
    ).optional(),
    dtype: z.enum(CACHE_DTYPES).describe(
      "precision of cached latents; f32 on the CPU and f16 on GPUs by default; q8 is eight bits a value and a scale for up to 128 of them, with rotated keys in f16",
    ).optional(),
    indexDtype: z.enum(INDEX_DTYPES).describe(
      "precision of cached index keys, of models with sparse attention: as latents, or f16 where those are q8, by default; fp8 is eight bits a value and a scale for a key, and may choose other tokens",
    ).optional(),
  }).describe("the latent cache of every unit").optional(),
};

const idleSeconds = z.number().min(0).max(2_000_000);
const namedModel = z.strictObject({
  ...modelShape,
  gpus: gpuList.describe("this host's GPUs that its workers get in turn; by default those of cluster.hosts")
    .optional(),
  idleSeconds: idleSeconds.describe("seconds without a request after which it is unloaded; by default what server.idleSeconds says").optional(),
  keepLoaded: z.boolean().describe("load it at the start, and never unload it; by default it is loaded when it is asked for").optional(),
});

/** The file. Flags win over the file, the file over the environment. */
export const configSchema = z.strictObject({
  $schema: z.string().describe("where editors find the JSON Schema of this file, which `config-schema` prints; the server does not read it")
    .optional(),
  ...modelShape,
  models: z.record(z.string().regex(/^[\w.:/@-]{1,96}$/, "must be 1 to 96 letters, digits and . : / @ _ -"), namedModel).refine(
    (models) => Object.keys(models).length > 0,
    "must name a model",
  ).describe(
    "several models by their names in the API, each loaded when it is asked for; what is beside them holds for all that do not say otherwise. By default there is one",
  ).optional(),
  server: z.strictObject({
    host: z.string().min(1).describe("address to listen on").optional(),
    port: z.int().min(0).max(65535).describe("port to listen on; 0 takes a free one").optional(),
    modelName: z.string().min(1).describe("name of the model in the API; by default the directory's").optional(),
    allowedHosts: z.array(z.string().min(1)).describe(
      "names under which clients may ask; by default those of loopback where it listens there, else any",
    )
      .optional(),
    allowedOrigins: z.array(z.union([z.literal("*"), z.url()])).describe(
      "origins of web pages that may ask (CORS), * for those of any; by default none",
    )
      .optional(),
    maxBodyBytes: z.int().min(1024).max(2 ** 30).describe("largest request body; by default 32 bytes for each token of the context, 4 MiB at least")
      .optional(),
    limits: z.strictObject({
      concurrent: z.int().min(1).describe("requests of one API key at a time; by default as many as come").optional(),
      requestsPerMinute: z.int().min(1).describe("requests of one API key in a minute; by default as many as come").optional(),
    }).describe("what one API key may do; more is refused with 429").optional(),
    connections: z.strictObject({
      total: z.int().min(1).max(1_000_000).describe("connections at a time; by default 4096, or what the limit of open files leaves").optional(),
      perAddress: z.int().min(1).max(1_000_000).describe("connections of one address; by default half of all").optional(),
    }).describe("who asks nothing makes room for others; beyond that, connections are closed").optional(),
    maxWaiting: z.int().min(1).max(1_000_000).describe("requests that may wait for a place; more are refused with 429").optional(),
    maxWaitingPerKey: z.int().min(1).max(1_000_000)
      .describe("requests of one API key that may wait; by default half of maxWaiting where there are several keys").optional(),
    shutdownTimeout: z.number().min(0).max(3600).describe("seconds that running requests get to finish on SIGTERM or SIGINT").optional(),
    maxLoaded: z.int().min(1).max(1000).describe("of several models, most that are loaded at a time; by default as many as memory allows").optional(),
    idleSeconds: idleSeconds.describe("of several models, seconds without a request after which one is unloaded").optional(),
    apiKeys: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe(
      "keys that clients must present: env:NAME (separated by commas) or a list; by default everybody may ask",
    )
      .optional(),
  }).describe("HTTP: where it listens, who may ask and how much").optional(),
  cluster: z.strictObject({
    token: z.string().min(1).describe("secret shared with workers of other hosts: env:NAME. Without it one is made for each run").optional(),
    listen: address.describe("host:port where workers of other hosts join; without it, only this host's workers do").optional(),
    tls: z.strictObject({
      cert: z.string().min(1).describe("PEM file shown by this host; without one, links are not encrypted").optional(),
      key: z.string().min(1).describe("PEM file of its key; the two belong together").optional(),
      ca: z.string().min(1).describe("PEM file of who signed the other hosts' certificates; by default those that the system trusts").optional(),
    }).nullable().describe("certificates of links between hosts; cert and key belong together").optional(),
    insecure: z.boolean().describe("allow links between hosts without TLS: whoever listens in reads prompts and answers").optional(),
    strict: z.boolean().describe("end when a unit cannot be kept up, instead of going on with the others").optional(),
    hosts: z.array(hostSchema).min(1).describe("machines and their GPUs; the first that does not join is this one, and by default there is no other")
      .optional(),
  }).describe("hosts, and how their workers join").optional(),
  cell: z.strictObject({
    registry: z.string().min(1).describe(`where this server says that it is there, for fronts: ${REGISTRY_HELP}; by default nowhere`).optional(),
    advertiseUrl: cellUrl.describe(
      "address at which fronts reach this server; by default where it listens, if that is loopback",
    ).optional(),
    id: z.string().regex(CELL_ID, "must be 1 to 127 letters, digits, dots, dashes or underscores, the first a letter or digit").describe(
      "name of this server among all that are registered; by default made of the address",
    ).optional(),
    frontKey: z.string().min(1).describe(
      "secret that fronts show, so that their requests count as their clients': env:NAME; by default whoever may ask may call itself a front",
    )
      .optional(),
  }).describe("this server as one of several behind fronts (deno task front)").optional(),
}).describe("What Latentmesh serves, on what, and for whom; flags win over it");

// The type that users see is written out, and must be exactly what the schema gives.
type Same<A, B> = [A, B] extends [B, A] ? true : false;
true satisfies Same<Config, z.output<typeof configSchema>>;

/**
 * Parses the text of a configuration file.
 *
 * @throws {LatentmeshError} `invalid_config` that names the paths in the file
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

/**
 * Checks a configuration that came from a file, from flags or from code.
 *
 * @throws {LatentmeshError} `invalid_config` that tells of all that cannot be used, each with its path, in lines if there is more than one; `param` is the first path
 */
export function checkConfig(value: unknown, source: string): Config {
  const parsed = configSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue, value));
  const lines = problems.map(({ path, problem }) => path === "" ? problem : `${path}: ${problem}`);
  throw new LatentmeshError("invalid_config", `Cannot use ${source}:${listed(lines)}`, { param: problems[0].path });
}

/** Problems that are told of at a time. */
const MOST_PROBLEMS = 20;

/** One behind the colon, several in lines of their own. */
function listed(lines: readonly string[]): string {
  if (lines.length === 1) return ` ${lines[0]}`;
  const more = lines.length - MOST_PROBLEMS;
  return [...lines.slice(0, MOST_PROBLEMS), ...more > 0 ? [`and ${more} more`] : []].map((line) => `\n  ${line}`).join("");
}

function problemsOf(issue: z.core.$ZodIssue, value: unknown): { readonly path: string; readonly problem: string }[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: [...issue.path, key].join("."), problem: `there is no such setting${meantBy(key, issue.path)}` }));
  }
  const path = issue.path.join(".");
  return [{ path, problem: problemOf(configSchema, issue, SECRET.test(path) ? undefined : value) }];
}

/** Settings whose values are not shown. */
const SECRET = /^(cluster\.token|server\.apiKeys|cell\.frontKey)/;

/** What a misspelled setting may have been meant as: one beside it, or one elsewhere, also by the name that its flag has. */
function meantBy(key: string, section: readonly PropertyKey[]): string {
  const beside = suggest(key, keysAt(configSchema, section));
  const path = [...section, beside].join(".");
  const flag = suggest(key, Object.keys(SETTING_OF)) as SettingFlag | null;
  const meant = beside !== null ? path : suggest(key, pathsOf(configSchema)) ?? (flag === null ? null : SETTING_OF[flag]);
  return meant === null ? "" : `; did you mean ${meant}?`;
}

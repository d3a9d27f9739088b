/**
 * Flags that several commands share, and how they become settings.
 *
 * @module
 */
import { withDawn } from "./fetched_dawn.ts";
import { CACHE_DTYPES, type CacheDtype, INDEX_DTYPES, type IndexDtype } from "../../core/cache/cache_dtype.ts";
import { DEVICE_CHOICES, DEVICE_HELP } from "../../core/device_kind.ts";
import { type Command, InvalidArgumentError, Option } from "commander";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { SYNTHETIC_HELP } from "../../core/model/synthetic/name.ts";
import { ATTENTION_MODES, type AttentionMode, SCHEME_DEFAULTS } from "../../core/tpla/scheme.ts";
import { checkConfig, type Config, parseConfig } from "./config.ts";
import { type Speculation, SPECULATIONS } from "../../core/speculation/speculation.ts";
import type { HostConfig } from "./config_type.ts";
import { naming, SETTING_OF, type SettingFlag } from "./flag_settings.ts";
import { refuseSeveral } from "./several_models.ts";
import { refuseIdleFlags } from "./without_effect.ts";
import { LOCAL_HOST } from "./host_places.ts";
import { REGISTRY_HELP } from "../registry/registry_help.ts";
import { DEFAULT_PORT, resolveSettings, type Settings } from "./settings.ts";

/** Flags of commands that load a model, as commander names them. */
export interface ModelFlags {
  readonly config?: string;
  readonly model?: string;
  readonly device?: Config["device"];
  readonly threads?: number;
  readonly weights?: Config["weights"];
  readonly maxTokensTotal?: number;
  readonly cacheMemory?: number;
  readonly cacheDtype?: CacheDtype;
  readonly indexCache?: IndexDtype;
  readonly prefillChunk?: number;
  readonly prefillWindow?: number;
}

/** How a decode group attends. */
export interface SchemeFlags {
  readonly ranks?: number;
  readonly latentGroups?: number;
  readonly attention?: AttentionMode;
  readonly basis?: NonNullable<Config["decode"]>["basis"];
  readonly lambda?: number;
  readonly halo?: "auto" | number;
  readonly mu?: number;
  readonly paper?: boolean;
}

/** What a cluster consists of. */
export interface ClusterFlags extends SchemeFlags {
  readonly groups?: number;
  readonly exchange?: "auto" | "shared-memory" | "websocket";
  readonly feedForward?: "auto" | "sharded" | "replicated";
  readonly maxBatch?: number;
  readonly speculate?: Speculation;
  readonly pingPong?: boolean;
  readonly prefillWorkers?: number;
  readonly mixed?: number;
  readonly maxStepMs?: number;
  readonly prefillRanks?: number;
  readonly gpus?: readonly number[];
  readonly listen?: string;
  readonly strict?: boolean;
}

/** Where HTTP is served. */
export interface ServerFlags {
  readonly host?: string;
  readonly port?: number;
  readonly modelName?: string;
  readonly shutdownTimeout?: number;
  readonly apiKey?: readonly string[];
  readonly allowedOrigin?: readonly string[];
  readonly insecure?: boolean;
}

/** What is said of a server that is one of several behind fronts. */
export interface CellFlags {
  readonly registry?: string;
  readonly advertiseUrl?: string;
  readonly cellId?: string;
  readonly frontKey?: string;
}

/** All of them. */
export type AllFlags = ModelFlags & ClusterFlags & ServerFlags & CellFlags;

/** `--model`, `--device`. */
export function withDevice(command: Command): Command {
  return command
    .option(
      "--model <model>",
      `model: a directory in Hugging Face form; a GGUF file of llama.cpp's (of several, the first); org/name or org/name@revision, fetched from the hub (hf:org/name where there is such a directory, too), of GGUF files there org/name:Q4_K_M or hf:org/name/file.gguf; or, to measure, random weights: ${SYNTHETIC_HELP} (default: the embedded tiny-mla)`,
    )
    .addOption(
      new Option("--device <device>", `${DEVICE_HELP} (default: auto)`).choices([...DEVICE_CHOICES]),
    )
    .option("--threads <n>", "threads of a worker on --device wasm (default: the cores, shared out among this host's workers)", integer);
}

/** Flags of commands that load a model to serve or score with it. */
export function withModel(command: Command): Command {
  return withDevice(command.option("--config <file>", "configuration file (YAML or JSON); flags win over it"))
    .addOption(
      new Option("--weights <format>", "keep linear weights as stored, or quantise them on load (default: keep)").choices(["keep", "q8", "q4"]),
    )
    .option(
      "--max-tokens-total <n>",
      "tokens of all sequences together in the latent cache; no prompt can be longer (default: four contexts, at most 32768)",
      integer,
    )
    .addOption(cacheDtypeOption())
    .addOption(indexCacheOption())
    .option("--prefill-chunk <n>", "prompt tokens computed at a time (default: 64 on the CPU; 512 to 4096 on GPUs, by their memory)", integer)
    .option("--prefill-window <n>", "positions whose keys and values are expanded at a time (default: 512 to 4096, by a GPU's memory)", integer);
}

/** `--cache-dtype`. */
export function cacheDtypeOption(): Option {
  return new Option("--cache-dtype <type>", "precision of cached latents (default: f32 on the CPU, f16 on GPUs); q8: eight bits a value, and scales")
    .choices([...CACHE_DTYPES]);
}

/** `--index-cache`. */
export function indexCacheOption(): Option {
  return new Option(
    "--index-cache <type>",
    "precision of cached index keys, of models with sparse attention (default: as latents, f16 beside q8); fp8: eight bits a value, and a scale for a key",
  ).choices([...INDEX_DTYPES]);
}

/** Flags about how a decode group attends. */
export function withScheme(command: Command): Command {
  const { attention, basis, lambda, mu } = SCHEME_DEFAULTS;
  return command
    .option("--ranks <k>", "workers of a decode group (default: 2)", integer)
    .option("--latent-groups <g>", "slices of the latent; divides ranks (default: ranks for tpla, 1 for mla and dcp)", integer)
    .addOption(
      new Option(
        "--attention <mode>",
        `tpla: every rank caches a slice of the latent; mla: heads are split, exact; dcp: latents are split by tokens, exact (default: ${attention})`,
      ).choices([...ATTENTION_MODES]),
    )
    .addOption(new Option("--basis <kind>", `basis of the latent (default: ${basis})`).choices(["identity", "hadamard", "pca", "balanced"]))
    .option("--lambda <x>", `weight of the values in the balanced basis (default: ${lambda})`, fraction)
    .option("--halo <r>", "latent directions that every rank keeps as keys (default: auto, as calibrated or an eighth of the latent)", halo)
    .option("--mu <x>", `what the latent part of scores is multiplied by (default: ${mu})`, number)
    .option("--paper", "the TPLA paper's scheme, for comparison: pca, norms over slices, no halo");
}

/** Flags about what a cluster consists of. */
export function withCluster(command: Command): Command {
  return withScheme(command)
    .option("--groups <n>", "decode groups (default: 1)", integer)
    .option("--cache-memory <x>", "how much the cache takes of what devices have left beside weights, instead of --max-tokens-total", fraction)
    .addOption(
      new Option("--exchange <way>", "how ranks give each other their parts of sums (default: auto, through shared memory where all are on one host)")
        .choices(["auto", "shared-memory", "websocket"]),
    )
    .addOption(
      new Option("--feed-forward <way>", "ranks share feed-forward blocks, or each has them whole (default: auto, whole where it fits and pays)")
        .choices(["auto", "sharded", "replicated"]),
    )
    .option("--ping-pong", "run halves of a step side by side: one computes while the other's sum is on the wire")
    .option(
      "--max-batch <n>",
      "sequences that a group decodes together (default: 64); where matrix units are there, 5 and more decode on them, in f16",
      integer,
    )
    .addOption(
      new Option(
        "--speculate <way>",
        "guess tokens from what followed the same ones before (ngram) or by the model's multi-token-prediction layer (mtp), and verify several at a time where that is likely to save time; it changes none of them (default: auto, in every way there is)",
      ).choices(SPECULATIONS),
    )
    .option("--mixed <n>", "units that compute prompts and generate by themselves, instead of decode groups and prefill units", integer)
    .option(
      "--max-step-ms <ms>",
      "of mixed units: most time between two tokens of a stream while prompts are computed (default: about three steps, or twice what a prefill chunk takes at least)",
      number,
    )
    .option(
      "--prefill-workers <n>",
      "prefill units (default: 1, or as many as decode groups leave of listed GPUs); 0: the ranks of each decode group compute prompts among themselves",
      integer,
    )
    .option("--prefill-ranks <n>", "workers of a prefill unit; heads are split among them (default: 1)", integer)
    .option("--listen <address>", "host:port at which workers of other hosts join, as cluster.hosts of the configuration file lists them")
    .option("--strict", "end when a decode group or prefill unit cannot be kept up, instead of going on with the others")
    .option(
      "--gpus <list>",
      "this host's GPUs, which workers get in turn, such as 0,1 (default: all of them where nothing is said of units, else the one that the driver prefers)",
      integers,
    );
}

/** `--single`, which has no units that other flags could say anything of. */
export function withSingle(command: Command): Command {
  const scheme = ["ranks", "latentGroups", "attention", "basis", "lambda", "halo", "mu", "paper"];
  const units = ["gpus", "groups", "mixed", "prefillWorkers", "prefillRanks", "exchange", "feedForward", "pingPong", "listen", "strict"];
  return command.addOption(new Option("--single", "serve from this process alone, without workers").conflicts([...scheme, ...units]));
}

/** Flags about where HTTP is served. @param port by default */
export function withListening(command: Command, port: number): Command {
  return command
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .option("--port <port>", `port to listen on; 0 takes a free one (default: ${port})`, integer)
    .option("--api-key <key>", "key that clients must present; env:NAME takes it from there. May be given several times", eachOf)
    .option("--allowed-origin <origin>", "origin of web pages that may ask (CORS), * for any. May be given several times", eachOf)
    .option("--insecure", "allow HTTP without keys off loopback, and links between hosts without TLS: whoever listens in reads prompts and answers");
}

/** Flags about what a server serves, and where. */
export function withServer(command: Command): Command {
  return withListening(command, DEFAULT_PORT)
    .option("--model-name <name>", "name of the model in the API (default: its name on the hub, or the directory's)")
    .addOption(shutdownOption());
}

/** `--shutdown-timeout`. */
export function shutdownOption(): Option {
  return new Option(
    "--shutdown-timeout <seconds>",
    "time running requests get to finish on SIGTERM or SIGINT; a second signal cancels them (default: 10)",
  ).argParser(number);
}

/** Flags of a server that is one of several behind fronts. */
export function withCell(command: Command): Command {
  return command
    .option("--registry <where>", `say there that this server is up, for fronts: ${REGISTRY_HELP}`)
    .option("--advertise-url <url>", "address at which fronts reach this server (default: where it listens, if that is loopback)")
    .option("--cell-id <name>", "name of this server among all that are registered (default: made of the address)")
    .option("--front-key <key>", "secret that fronts show, so that their requests count as their clients'; env:NAME takes it from there");
}

function eachOf(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Any number. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

/** A whole number. */
export function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

/** A whole number of at least 1. */
export function positive(text: string): number {
  const value = integer(text);
  if (value === 0) throw new InvalidArgumentError("It must be at least 1.");
  return value;
}

/** Whole numbers, separated by commas. */
export function integers(text: string): number[] {
  return text.split(",").map((part) => integer(part.trim()));
}

function halo(text: string): "auto" | number {
  return text === "auto" ? "auto" : integer(text);
}

function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1)) throw new InvalidArgumentError("It must be a number from 0 to 1.");
  return value;
}

/** Flags, file and environment together. @throws {LatentmeshError} `invalid_config` that names the setting */
export async function settingsOf(flags: AllFlags): Promise<Settings> {
  refuseIdleFlags(flags);
  const file = flags.config === undefined ? {} : parseConfig(await readConfig(flags.config), flags.config);
  const { config: _, gpus, ...others } = flags;
  const given = { ...others, gpus: gpus && hostsWith(gpus, file.cluster?.hosts) } satisfies Partial<Record<SettingFlag, unknown>>;
  try {
    const settings = resolveSettings(checkConfig(configOf(given), "the flags"), file, (name) => Deno.env.get(name));
    return await withDawn(settings);
  } catch (error) {
    throw naming(given, error);
  }
}

/** The same with the model fetched, if it is not there yet. @throws {LatentmeshError} `invalid_config` that names the setting, or why the model cannot be had */
export async function fetchedSettingsOf(flags: AllFlags): Promise<Settings> {
  const settings = await settingsOf(flags);
  refuseSeveral(settings, "this command");
  const { withModelFetched } = await import("./fetch_model.ts");
  return await withModelFetched(settings);
}

/** What flags set, in the form of a cluster file; other flags of a command set nothing there. */
function configOf(flags: Partial<Record<SettingFlag, unknown>>): Record<string, unknown> {
  const config: Record<string, Record<string, unknown> | unknown> = {};
  const set = (path: string, value: unknown) => {
    const [section, key] = path.split(".");
    config[section] = key === undefined ? value : { ...config[section] as object | undefined, [key]: value };
  };
  for (const flag of Object.keys(SETTING_OF) as SettingFlag[]) if (flags[flag] !== undefined) set(SETTING_OF[flag], flags[flag]);
  // A flag wins over what the file says of decode groups alone, too.
  if (flags.device !== undefined) set("decode.device", flags.device);
  return config;
}

/** The file's hosts, of which this one gives its workers these GPUs. @throws {LatentmeshError} `invalid_config` if none of them is this one */
function hostsWith(gpus: readonly number[], hosts: readonly HostConfig[] = [LOCAL_HOST]): HostConfig[] {
  if (hosts.every(({ join }) => join === true)) {
    throw new LatentmeshError("invalid_config", "--gpus: no worker runs here, since every host in cluster.hosts joins; give GPUs to those that do", {
      param: "cluster.hosts",
    });
  }
  return hosts.map((host) => host.join === true ? host : { ...host, gpus: [...gpus] });
}

async function readConfig(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    throw new LatentmeshError("not_found", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}

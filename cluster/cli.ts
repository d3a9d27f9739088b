/**
 * The command line: flags → settings → commands.
 *
 * @module
 */
import { Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { ENV_HELP } from "../core/env.ts";
import { LatentmeshError, messageOf } from "../core/errors.ts";
import { checkConfig, type Config, configSchema, parseConfig } from "./config.ts";
import { resolveSettings, type Settings } from "./settings.ts";
import { readDocuments, scoreDocuments, type ScoreReport } from "./commands/score.ts";
import { serve, stopOnSignals } from "./commands/serve.ts";
import { writeCalibration } from "./commands/calibrate.ts";
import type { DriftReport, DriftRequest } from "../core/tpla/drift.ts";
import type { Calibrate, LoadEngine, MeasureDrift } from "./engine.ts";
import { log } from "./log.ts";
import { showProgress } from "./progress.ts";

/** Flags of commands that load a model, as commander names them. */
interface ModelFlags {
  readonly config?: string;
  readonly model?: string;
  readonly device?: Config["device"];
  readonly weights?: Config["weights"];
  readonly maxTokensTotal?: number;
  readonly cacheDtype?: "f16" | "f32";
  readonly prefillChunk?: number;
}

interface ServeFlags extends ModelFlags {
  readonly host?: string;
  readonly port?: number;
  readonly modelName?: string;
  readonly shutdownTimeout?: number;
}

interface ScoreFlags extends ModelFlags {
  readonly text: string;
  readonly limitTokens: number;
  readonly json?: boolean;
}

interface CalibrateFlags extends Pick<ModelFlags, "model" | "device"> {
  readonly text?: string;
  readonly tokens: number;
  readonly output?: string;
}

interface DriftFlags extends Pick<ModelFlags, "model" | "device">, Omit<DriftRequest, "documents"> {
  readonly text: string;
  readonly json?: boolean;
}

/** What commands need of the forward pass. */
export interface Services {
  readonly loadEngine: LoadEngine;
  readonly calibrate: Calibrate;
  readonly measureDrift: MeasureDrift;
}

/** Builds the program around a forward pass. */
export function createProgram(version: string, { loadEngine, calibrate, measureDrift }: Services): Command {
  const program = new Command("latentmesh")
    .description("Serves multi-head-latent-attention language models on any GPU that WebGPU reaches.")
    .version(version)
    .showHelpAfterError("(--help lists all flags)");
  const environment = ENV_HELP.map(({ name, help }) => `  ${name.padEnd(20)} ${help}`).join("\n");
  program.addHelpText("after", `\nEnvironment:\n${environment}`);

  withModelFlags(program.command("serve").description("serve a model over an OpenAI-compatible API"))
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .option("--port <port>", "port to listen on; 0 takes a free one (default: 8080)", integer)
    .option("--model-name <name>", "name of the model in the API (default: the directory's)")
    .option("--shutdown-timeout <seconds>", "time running requests get to finish on SIGTERM (default: 10)", Number)
    .addHelpText("after", `\nEnvironment:\n${environment}`)
    .action(async (flags: ServeFlags) => {
      using stop = stopOnSignals();
      await serve(await settingsOf(flags), loadEngine, { stop });
    });

  withModelFlags(program.command("score").description("print the perplexity of documents"))
    .requiredOption("--text <file>", "JSON array of documents")
    .option("--limit-tokens <n>", "tokens of each document", integer, 1024)
    .option("--json", "print JSON instead of a table")
    .action(async (flags: ScoreFlags) => printScore(await score(flags, loadEngine), flags.json ?? false));

  program.command("calibrate").description("collect the statistics from which a model's latent basis is chosen")
    .option("--model <directory>", "model directory in Hugging Face form (default: the embedded tiny-mla)")
    .addOption(new Option("--device <device>", "device to run on (default: auto)").choices(["auto", "deno", "dawn", "cpu"]))
    .option("--text <file>", "JSON array of documents (default: the built-in mixed text)")
    .option("--tokens <n>", "tokens to use at most", integer, 16384)
    .option("--output <file>", "where to write (default: basis.safetensors in the model directory)")
    .action(async (flags: CalibrateFlags) => await writeCalibration(flags, await settingsOf(flags), calibrate));

  program.command("drift").description("print how far a way of decoding drifts from exact attention, on documents")
    .requiredOption("--text <file>", "JSON array of documents")
    .requiredOption("--ranks <k>", "ranks of the decode group", integer)
    .option("--model <directory>", "model directory in Hugging Face form (default: the embedded tiny-mla)")
    .addOption(new Option("--device <device>", "device to run on (default: auto)").choices(["auto", "deno", "dawn", "cpu"]))
    .addOption(new Option("--attention <mode>", "tpla shards the latent; mla splits heads and is exact").choices(["tpla", "mla"]).default("tpla"))
    .option("--latent-groups <g>", "latent groups; divides ranks (default: ranks for tpla, 1 for mla)", integer)
    .addOption(new Option("--basis <kind>", "basis of the latent").choices(["identity", "hadamard", "pca", "balanced"]).default("balanced"))
    .option("--lambda <x>", "weight of the values in the balanced basis", fraction, 0.05)
    .option("--halo <r>", "latent directions that every rank keeps as keys (default: an eighth of the latent)", integer)
    .option("--mu <x>", "what the latent part of scores is multiplied by", Number, 1)
    .option("--paper", "the TPLA paper's scheme: pca, norms over slices, no halo", false)
    .option("--prefix <n>", "tokens of each document that are prefilled (default: half)", integer)
    .option("--limit-tokens <n>", "tokens of each document", integer, 2048)
    .option("--json", "print JSON instead of a table")
    .action(async (flags: DriftFlags) => printDrift(await drift(flags, measureDrift), flags.json ?? false));

  program.command("worker").description("join a cluster from another machine (not in this version)")
    .allowUnknownOption()
    .allowExcessArguments()
    .action(() => {
      throw new LatentmeshError("unsupported", "This version runs in one process; use serve. Workers that join a cluster come with the next one.");
    });

  program.command("config-schema").description("print the JSON Schema of the configuration file")
    .action(() => print(JSON.stringify(z.toJSONSchema(configSchema), null, 2)));
  return program;
}

function withModelFlags(command: Command): Command {
  return command
    .option("--config <file>", "configuration file (YAML or JSON); flags win over it")
    .option("--model <directory>", "model directory in Hugging Face form (default: the embedded tiny-mla)")
    .addOption(
      new Option("--device <device>", "auto takes a hardware GPU if there is one, else the CPU (default: auto)").choices([
        "auto",
        "deno",
        "dawn",
        "cpu",
      ]),
    )
    .addOption(
      new Option("--weights <format>", "keep linear weights as stored, or quantise them on load (default: keep)").choices(["keep", "q8", "q4"]),
    )
    .option("--max-tokens-total <n>", "tokens all sequences together may hold in the latent cache (default: four contexts, at most 32768)", integer)
    .addOption(new Option("--cache-dtype <type>", "precision of cached latents (default: f32 on the CPU, f16 on GPUs)").choices(["f16", "f32"]))
    .option("--prefill-chunk <n>", "prompt tokens computed at a time (default: 64 on the CPU, 512 on GPUs)", integer);
}

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1)) throw new InvalidArgumentError("It must be a number from 0 to 1.");
  return value;
}

async function settingsOf(flags: ServeFlags): Promise<Settings> {
  const file = flags.config === undefined ? {} : parseConfig(await readConfig(flags.config), flags.config);
  const given = checkConfig(
    {
      model: flags.model,
      device: flags.device,
      weights: flags.weights,
      cache: { maxTokens: flags.maxTokensTotal, dtype: flags.cacheDtype },
      prefill: { chunk: flags.prefillChunk },
      server: { host: flags.host, port: flags.port, modelName: flags.modelName, shutdownTimeout: flags.shutdownTimeout },
    } satisfies Config,
    "the flags",
  );
  return resolveSettings(given, file, (name) => Deno.env.get(name));
}

async function readConfig(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    throw new LatentmeshError("not_found", `Cannot read ${file}: ${messageOf(cause)}`, { param: "config", cause });
  }
}

async function score(flags: ScoreFlags, loadEngine: LoadEngine): Promise<ScoreReport> {
  const documents = await readDocuments(flags.text);
  const settings = await settingsOf(flags);
  const progress = showProgress("loading");
  const engine = await loadEngine({ ...settings, onProgress: ({ loadedBytes, totalBytes }) => progress.update(loadedBytes, totalBytes) })
    .finally(() => progress.stop());
  log("info", `device  ${engine.device}`);
  try {
    return await scoreDocuments(engine, documents, flags.limitTokens);
  } finally {
    await engine.close();
  }
}

async function drift(flags: DriftFlags, measureDrift: MeasureDrift): Promise<DriftReport> {
  const documents = await readDocuments(flags.text);
  const { model, device, dawn } = await settingsOf(flags);
  const progress = showProgress("decoding", (tokens) => `${tokens} tokens`);
  const onProgress = ({ done, total }: { done: number; total: number }) => progress.update(done, total);
  return await measureDrift({ ...flags, model, device, dawn, documents, onProgress })
    .finally(() => progress.stop());
}

function printDrift(report: DriftReport, json: boolean): void {
  if (json) return print(JSON.stringify(report));
  const { kl, agreement, perplexity, widths, tokens } = report;
  print(`KL to exact attention   ${kl.toPrecision(3)} nats per token`);
  print(`same best token         ${(agreement * 100).toFixed(1)} %`);
  print(`perplexity              ${perplexity.chosen.toFixed(3)}, exact ${perplexity.exact.toFixed(3)}`);
  print(`cached values per token ${widths.join(", ")} on ranks 0 … ${widths.length - 1}`);
  print(`tokens compared         ${tokens}`);
}

function printScore(report: ScoreReport, json: boolean): void {
  if (json) return print(JSON.stringify(report));
  report.perDocument.forEach(({ tokens, nllPerToken }, i) => print(`document ${i + 1}\t${tokens} tokens\t${nllPerToken.toFixed(4)} nats per token`));
  print(`all\t${report.tokens} tokens\t${report.nllPerToken.toFixed(4)} nats per token\tperplexity ${report.perplexity.toFixed(3)}`);
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

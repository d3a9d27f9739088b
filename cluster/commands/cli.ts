/**
 * The command line: which commands there are and what they take.
 *
 * @module
 */
import { Command, Option } from "commander";
import { DEVICE_CHOICES, DEVICE_HELP } from "../../core/device_kind.ts";
import { ENV_HELP } from "../../core/env.ts";
import { budgets } from "../config/budgets.ts";
import { CALIBRATION_TOKENS } from "../config/calibration_tokens.ts";
import { groupFlags } from "../config/flag_groups.ts";
import {
  type AllFlags,
  cacheDtypeOption,
  indexCacheOption,
  integer,
  integers,
  positive,
  settingsOf,
  shutdownOption,
  withCell,
  withCluster,
  withDevice,
  withListening,
  withModel,
  withScheme,
  withServer,
  withSingle,
} from "../config/flags.ts";
import { DEFAULT_FRONT_PORT, type FrontFlags } from "../config/front_settings.ts";
import { asOneMixed, type Settings } from "../config/settings.ts";
import { log, printLine } from "../logs/log.ts";
import type { ClusterServices } from "../planning/services.ts";
import { REGISTRY_HELP } from "../registry/registry_help.ts";
import type { CalibrateFlags } from "./calibrate.ts";
import type { DriftFlags } from "./drift.ts";
import type { LoadEngine, MeasureDrift } from "./loaded_engine.ts";
import type { ModelsFlags } from "./models.ts";
import type { PullFlags } from "./pull.ts";
import type { ScoreFlags } from "./score.ts";
import type { WorkerFlags } from "./worker.ts";

/** What commands need of the workers' side. */
export interface Services extends ClusterServices {
  /** In this process. */
  readonly loadEngine: LoadEngine;
  readonly startCluster: LoadEngine;
  readonly measureDrift: MeasureDrift;
}

const ENVIRONMENT = `\nEnvironment:\n${ENV_HELP.map(({ name, help }) => `  ${name.padEnd(23)}  ${help}`).join("\n")}`;

const EXAMPLES = `
Examples:
  serve --model org/name --weights q4       a model from the hub, fetched once, quantised on load, on what this machine does best
  serve --model DIR                         a model of your own
  serve --model DIR --ranks 2 --gpus 0,1,2  one prefill worker, and the latent cache cut over two decode ranks (TPLA)
  serve --config cluster.yaml --port 9000   from a cluster file, which may name several models or hosts; flags win over it`;

/**
 * Builds the program. What a command runs on is loaded when it runs: whoever asks for help, or is told of a wrong flag, does not wait for all of it.
 *
 * @param services loads the workers' side
 */
export function createProgram(version: string, services: () => Promise<Services>): Command {
  const program = new Command("latentmesh")
    .description("Serves multi-head-latent-attention language models on any GPU that WebGPU reaches, or on processors without one.")
    .version(version)
    .showHelpAfterError("(--help lists all flags)")
    .addHelpText("after", ENVIRONMENT);

  const serving = (name: string, description: string) =>
    withCell(withServer(withSingle(withCluster(withModel(program.command(name).description(description))))));
  serving("serve", "serve a model over an OpenAI-compatible API, on a cluster of worker processes")
    .addHelpText("after", EXAMPLES)
    .addHelpText("after", ENVIRONMENT)
    .action(async ({ single, ...flags }: ServeFlags) => {
      const settings = await servedBy({ single, ...flags });
      const given = await services();
      const load = single === true ? given.loadEngine : startChosen(given);
      if (settings.several === null) return await (await import("./serve.ts")).serve(settings, load);
      const { serveModels } = await import("./serve_models.ts");
      await serveModels(settings, settings.several, load, given);
    });

  withListening(program.command("front").description("the APIs of all servers of a registry behind one address"), DEFAULT_FRONT_PORT)
    .requiredOption("--registry <where>", `where servers say that they are up (serve --registry): ${REGISTRY_HELP}`)
    .option("--cell-key <key>", "what servers know their fronts by (serve --front-key); env:NAME takes it from there")
    .option("--cell-ca <file>", "PEM certificate of who signed the servers', besides those that the system trusts")
    .option("--concurrent <n>", "requests of one API key at a time; every front counts for itself", integer)
    .option("--requests-per-minute <n>", "requests of one API key in a minute; every front counts for itself", integer)
    .addOption(shutdownOption())
    .addHelpText("after", ENVIRONMENT)
    .action(async (flags: FrontFlags) => await (await import("./front.ts")).front(flags));

  program.command("worker").description("join this machine's GPUs to a cluster")
    .requiredOption("--join <address>", "address of the coordinator, wss://host:port")
    .requiredOption("--advertise <host>", "address of this machine that the coordinator and other workers can reach")
    .option(
      "--model <model>",
      "the coordinator's model: a directory on this machine, or org/name[@revision] or org/name:Q4_K_M, fetched to this machine (default: the embedded tiny-mla)",
    )
    .option("--name <host>", "name of this machine in the cluster's configuration (default: its host name)")
    .option("--gpus <list>", "GPUs to use, one worker each, such as 0,1 (default: one worker on whichever the driver prefers)", integers)
    .addOption(new Option("--device <device>", `device to run on: ${DEVICE_HELP} (default: auto)`).choices([...DEVICE_CHOICES]))
    .option("--threads <n>", "threads of a worker on --device wasm (default: the cores, shared out among this machine's workers)", integer)
    .option("--tls-cert <file>", "PEM certificate that other workers are shown")
    .option("--tls-key <file>", "PEM key of the certificate")
    .option("--tls-ca <file>", "PEM certificate of who signed the others'")
    .option("--insecure", "allow links without TLS: whoever listens in reads prompts and answers")
    .addHelpText("after", ENVIRONMENT)
    .action(async (flags: WorkerFlags) => {
      const { joinUntilStopped } = await import("./worker.ts");
      await joinUntilStopped(flags, await services());
    });

  serving("plan", "print what a configuration comes to: bytes per rank, on the wire and in the cache")
    .addOption(new Option("--compare", "print the ways of using this host's GPUs side by side instead, with predicted steps").conflicts("single"))
    .option("--json", "print JSON instead of a table")
    .action(async ({ json = false, compare: comparing, ...flags }: ServeFlags & { json?: boolean; compare?: boolean }) => {
      const given = await servedBy(flags);
      const { planAll } = await import("./plan_all.ts");
      if (!await planAll(given, await services(), { json, comparing: comparing === true })) Deno.exitCode = 1;
    });

  serving("doctor", "look for what would keep a configuration from working")
    .action(async (flags: ServeFlags) => {
      const settings = await servedBy(flags);
      const { examineAll, printFindings } = await import("./doctor.ts");
      if (!printFindings(await examineAll(settings, await services()))) Deno.exitCode = 1;
    });

  withModel(program.command("score").description("print the perplexity of documents"))
    .requiredOption("--text <file>", "JSON array of documents")
    .option("--limit-tokens <n>", "tokens of each document", positive, 1024)
    .option("--json", "print JSON instead of a table")
    .action(async (flags: ScoreFlags) =>
      await (await import("./score.ts")).score(flags, async (...given) => await (await services()).loadEngine(...given))
    );

  withDevice(program.command("calibrate").description("collect the statistics from which a model's latent basis is chosen"))
    .option("--text <file>", "JSON array of documents (default: the built-in mixed text)")
    .option("--tokens <n>", "tokens to use at most", positive, CALIBRATION_TOKENS)
    .option(
      "--budget <values>",
      "measure how much each layer had better cache of a token on a rank: so many values as a mean, as 96, or for 2 and 4 slices 2:96,4:64",
      budgets,
    )
    .option("--output <file>", "where to write (default: basis.safetensors in the model directory)")
    .action(async (flags: CalibrateFlags) => {
      const settings = await settingsOf(flags);
      const { writeCalibration } = await import("./calibrate.ts");
      await writeCalibration(flags, settings, async (options) => await (await services()).calibrate(options));
    });

  withScheme(withDevice(program.command("drift").description("print how far a way of decoding drifts from exact attention, on documents")))
    .requiredOption("--text <file>", "JSON array of documents")
    .addOption(cacheDtypeOption())
    .addOption(indexCacheOption())
    .option("--prefix <n>", "tokens of each document that are prefilled (default: half)", integer)
    .option("--limit-tokens <n>", "tokens of each document", positive, 2048)
    .option("--json", "print JSON instead of a table")
    .action(async (flags: DriftFlags) =>
      await (await import("./drift.ts")).drift(flags, async (request) => await (await services()).measureDrift(request))
    );

  program.command("pull").description("fetch models from the hub into the cache, which is shared with Python's huggingface_hub")
    .argument("<models...>", "names: org/name, org/name@revision, or of GGUF files org/name:Q4_K_M or hf:org/name/file.gguf")
    .option("--verify", "hash what is there already, too, and fetch again what is not as the hub lists it")
    .addHelpText("after", ENVIRONMENT)
    .action(async (names: string[], flags: PullFlags) => await (await import("./pull.ts")).pull(names, flags));

  program.command("models").description("list the models in the cache, or remove one")
    .option("--remove <model>", "remove org/name, or of it only one revision, org/name@revision, or one of its GGUF files, org/name:Q4_K_M")
    .option("--json", "print JSON instead of a table")
    .action(async (flags: ModelsFlags) => await (await import("./models.ts")).models(flags));

  for (const command of program.commands) if (command.name() !== "worker" && command.name() !== "front") groupFlags(command);
  program.command("config-schema").description("print the JSON Schema of the configuration file")
    .action(async () => printLine(JSON.stringify((await import("../config/json_schema.ts")).configJsonSchema(), null, 2)));
  return program;
}

/** What `serve` takes, and what looks at it beforehand. */
type ServeFlags = AllFlags & { readonly single?: boolean };

/** What `serve` would have with these flags. */
async function servedBy({ single, ...flags }: ServeFlags): Promise<Settings> {
  const settings = await settingsOf(flags);
  return single === true ? asOneMixed(settings) : settings;
}

/** Starts what suits the machine, where nothing else is configured, and says so. */
function startChosen(services: Services): LoadEngine {
  return async (given, onProgress) => {
    const { chooseUnits } = await import("../planning/choose_units.ts");
    const { settings, reason } = await chooseUnits(given, services);
    if (reason !== null) log("info", `units   ${reason}`);
    return await services.startCluster(settings, onProgress);
  };
}

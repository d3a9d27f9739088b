/**
 * Worker processes of this host: exactly the permissions they need, an environment of their own, and their secrets on standard input.
 *
 * @module
 */
import { type DeviceChoice, type DeviceTuning, isHostChoice } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { isSynthetic } from "../../core/model/synthetic/name.ts";
import { wideFlags } from "../../core/wide_kernels.ts";
import { STARTED_LINE } from "../../core/wire/protocol.ts";
import { guardProcess } from "./guardian.ts";
import { nvidiaNodes, pciAddresses } from "./host_gpus.ts";
import { readablePaths } from "./readable_paths.ts";
import { log } from "../logs/log.ts";

/** A running process. */
export interface WorkerProcess {
  /** Resolves when it has ended, with the last lines it wrote to standard error. */
  readonly ended: Promise<EndedProcess>;
  /** Ends it at once. */
  kill(): void;
}

/** How a process has ended. */
export interface EndedProcess {
  readonly code: number;
  readonly lastLines: string;
  /** Whether it could not even begin: a module of its code cannot be loaded. */
  readonly unloadable?: boolean;
}

/** What a worker process is started with. */
export interface SpawnOptions {
  /** Entry module of worker processes. */
  readonly entry: URL;
  /** Host name in URLs of Unix sockets, which the permission to connect is about. */
  readonly unixHost: string;
  /** What the process reads from standard input; it says where it joins and with which token. */
  readonly bootstrap: Readonly<Record<string, unknown>> & {
    readonly worker: string;
    readonly device: DeviceChoice;
    readonly model: string;
    readonly basis?: string;
    readonly dawn?: string;
    readonly tuning?: DeviceTuning;
  };
  /** Directory of the sockets. */
  readonly directory: string;
  /** Addresses of Unix sockets that it may listen on or connect to; null: any address, because peers are on other hosts. */
  readonly sockets: readonly string[] | null;
  /** Whether it shares memory with other ranks, for which it needs the C library. */
  readonly sharesMemory: boolean;
  /** Told of what the process writes to standard error. @returns whether the line is no last word of it */
  readonly onLine?: (line: string) => boolean;
  /** GPU to use, counted as the system lists them; null: whichever the driver prefers. */
  readonly gpu: number | null;
}

/** Variables that drivers, caches and certificates need, and those by which Deno fetches packages; everything else stays here. */
const PASSED =
  /^(PATH|HOME|USER|TMPDIR|LANG|LC_.*|TZ|DENO_DIR|DENO_CERT|DENO_TLS_CA_STORE|NODE_EXTRA_CA_CERTS|NPM_CONFIG_REGISTRY|SSL_CERT_.*|((HTTPS?|NO)_PROXY|(https?|no)_proxy)|XDG_.*|VK_.*|MESA_.*|LIBGL_.*|DRI_PRIME|LD_LIBRARY_PATH|DYLD_.*|NVIDIA_.*|CUDA_.*|__.*)$/;

/** What Deno says where a module could not be fetched, which may be otherwise next time. */
const NOT_FETCHED = /error sending request|connection (reset|closed|refused)|timed out|dns error/i;

/** Lines kept of what a worker wrote to standard error. */
const LAST_LINES = 5;

/** Starts a worker. @throws {LatentmeshError} `invalid_config` if its GPU does not exist */
export function spawnWorker(options: SpawnOptions): WorkerProcess {
  const { bootstrap } = options;
  const flags = v8FlagsOf(bootstrap);
  const { command, args, env } = selectGpu(isHostChoice(bootstrap.device) ? null : options.gpu, [Deno.execPath(), ...denoArguments(options, flags)]);
  const child = new Deno.Command(command, {
    args,
    clearEnv: true,
    env: { ...passedEnvironment(), NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  guardProcess(child);
  const lines: string[] = [];
  let started = false;
  const reading = readLines(child.stderr, (line) => {
    if (line === STARTED_LINE) {
      started = true;
      return;
    }
    log("debug", `worker  ${options.bootstrap.worker}: ${line}`);
    if (options.onLine?.(line) === true) return;
    lines.push(line);
    if (lines.length > LAST_LINES) lines.shift();
  });
  void giveBootstrap(child.stdin, { ...bootstrap, tuning: { ...bootstrap.tuning, wide: flags.length > 0 } });
  return {
    ended: Promise.all([child.status, reading]).then(([{ code }]) => ({
      code,
      lastLines: lines.join(" "),
      // Deno ends so of itself; whoever ends it from outside does with other codes.
      unloadable: !started && code === 1 && !lines.some((line) => NOT_FETCHED.test(line)),
    })),
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    },
  };
}

/** What V8 is started with, unless somebody does not want that. */
function v8FlagsOf({ device, tuning }: SpawnOptions["bootstrap"]): readonly string[] {
  return (isHostChoice(device) || device === "auto") && tuning?.wide !== false ? wideFlags() : [];
}

function denoArguments({ entry, unixHost, bootstrap, directory, sockets, sharesMemory }: SpawnOptions, flags: readonly string[]): string[] {
  const { model, basis, dawn } = bootstrap;
  const read = [...(isSynthetic(model) ? [] : readablePaths(model)), directory, ...(basis === undefined ? [] : [basis]), ...codeOf(entry)];
  const net = sockets === null ? [] : [`${unixHost}:80`, ...sockets];
  // Dawn is native code that reads what it likes; only those who ask for it run it.
  const native = [...(dawn === undefined && !sharesMemory ? [] : ["--allow-ffi"]), ...(dawn === undefined ? [] : ["--allow-sys"])];
  const env = [...(sockets === null ? ["WS_NO_BUFFER_UTIL", "WS_NO_UTF_8_VALIDATE"] : []), ...(dawn === undefined ? [] : ["*"])];
  return [
    "run",
    "--quiet",
    "--no-prompt",
    // V8 takes no code that it has cached under other flags. With a cache, this process and its workers would throw away each other's: each start would take longer.
    ...(flags.length === 0 ? [] : [`--v8-flags=${flags.join()}`, "--no-code-cache"]),
    ...configArguments(entry),
    dawn === undefined ? `--allow-read=${read.join(",")}` : "--allow-read",
    `--allow-write=${directory}`,
    net.length === 0 ? "--allow-net" : `--allow-net=${net.join(",")}`,
    ...importPermission(entry),
    ...(env.includes("*") ? ["--allow-env"] : env.length > 0 ? [`--allow-env=${env.join(",")}`] : []),
    ...native,
    entry.href,
  ];
}

/** What a thread of its own is loaded from, which Deno asks permission for where it is a file. */
function codeOf(entry: URL): string[] {
  return entry.protocol === "file:"
    ? ["core", "kernels", "workers"].map((folder) => decodeURIComponent(new URL(`../../${folder}`, import.meta.url).pathname))
    : [];
}

/** Code of a package comes from where its entry does. */
export function importPermission(entry: URL): string[] {
  return entry.protocol === "file:" ? [] : [`--allow-import=${entry.host}`];
}

/** From a checkout, names are resolved by its deno.json; from a registry, by the package itself. */
export function configArguments(entry: URL): string[] {
  return entry.protocol === "file:" ? ["--config", decodeURIComponent(new URL("../../deno.json", import.meta.url).pathname)] : [];
}

/** The part of the environment that processes of a cluster get. */
export function passedEnvironment(all: Readonly<Record<string, string>> = Deno.env.toObject()): Record<string, string> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => PASSED.test(name)));
}

/**
 * WebGPU cannot choose between GPUs of one vendor, so a worker is shown only one. As root on Linux with NVIDIA's driver: a mount namespace in which the other
 * GPUs' device nodes are empty. Elsewhere: Mesa's device-select layer, which puts the named GPU first.
 */
export function selectGpu(gpu: number | null, command: readonly string[]): { command: string; args: string[]; env: Record<string, string> } {
  const plain = { command: command[0], args: command.slice(1) };
  if (gpu === null) return { ...plain, env: {} };
  const nodes = nvidiaNodes();
  if (nodes.length > 0 && !nodes.includes(`/dev/nvidia${gpu}`)) throw noSuchGpu(gpu, nodes.length);
  if (nodes.length > 1 && Deno.uid() === 0) {
    const hide = nodes.filter((node) => node !== `/dev/nvidia${gpu}`).map((node) => `mount --bind /dev/null ${node}`).join(" && ");
    return { command: "unshare", args: ["--mount", "sh", "-c", `${hide} && exec "$@"`, "sh", ...command], env: {} };
  }
  const addresses = pciAddresses();
  const address = addresses[gpu];
  if (address === undefined) throw noSuchGpu(gpu, addresses.length);
  return { ...plain, env: { DRI_PRIME: `pci-${address.replace(/[:.]/g, "_")}`, MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE: "1" } };
}

function noSuchGpu(gpu: number, count: number): LatentmeshError {
  const there = count === 0 ? "none was found here" : `this host has ${count}, counted from 0`;
  return new LatentmeshError("invalid_config", `Cannot use GPU ${gpu}: ${there}; correct gpus, or leave it out`, { param: "cluster.hosts" });
}

async function giveBootstrap(stdin: WritableStream<Uint8Array<ArrayBuffer>>, bootstrap: object): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(JSON.stringify(bootstrap) + "\n"));
    await writer.close();
  } catch {
    // A process that ended before it read says why on standard error.
  }
}

async function readLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>, onLine: (line: string) => void): Promise<void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line.trim() !== "") onLine(line.trim());
  }
  if (rest.trim() !== "") onLine(rest.trim());
}

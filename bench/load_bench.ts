/**
 * Loading a checkpoint of DeepSeek-V2-Lite's sizes. Without a device: the loader's peak host memory and speed, with weights that go nowhere: on a machine whose device
 * memory is host memory, anything else would measure the device. With one: how fast weights get there, and a real server from its start until it is ready.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { LOAD_PARTS } from "../core/wire/load_times.ts";
import type { StagingKind } from "../kernels/device/device.ts";
import type { DeviceChoice } from "../kernels/device/providers.ts";
import { generateCheckpoint, type GeneratedCheckpoint } from "./load/checkpoint.ts";
import { loadNowhere, loadOntoDevice, type LoadResult, readPlainly } from "./load/loads.ts";
import { type StartResult, timeStart } from "./load/starts.ts";
import { printTable } from "./table.ts";

const GB = 1e9;
const MB = 1e6;

const OPTIONS = {
  device: { type: "string" },
  processes: { type: "string", default: "1,3" },
  staging: { type: "string", default: "mapped,written" },
  blocks: { type: "string", default: "16x6,4x16" },
  directory: { type: "string" },
} as const;

/** What one process of the bench does: peaks never go down, so each measurement has a process of its own. */
type Part =
  | { readonly kind: "nowhere"; readonly directory: string; readonly weights: WeightPolicy }
  | { readonly kind: "device"; readonly directory: string; readonly device: DeviceChoice; readonly staging: StagingKind; readonly blocks: string };

/** Runs the bench. */
export async function loadBench(args: readonly string[]): Promise<void> {
  if (args[0] === "part") return console.log(JSON.stringify(await runPart(JSON.parse(args[1]))));
  const { values, positionals: [gigabytes = "2"] } = parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  const directory = values.directory ?? await Deno.makeTempDir();
  try {
    const generated = await generateUnlessThere(directory, Number(gigabytes));
    if (values.device === undefined) await hostMemory(directory, generated);
    else {
      await ontoDevice(directory, values.device as DeviceChoice, {
        staging: values.staging.split(",") as StagingKind[],
        blocks: values.blocks.split(","),
      });
      await starts(directory, values.device, values.processes.split(",").map(Number));
    }
  } finally {
    if (values.directory === undefined) await Deno.remove(directory, { recursive: true });
  }
}

async function generateUnlessThere(directory: string, gigabytes: number): Promise<GeneratedCheckpoint> {
  const checkpoint = await thereOrGenerated(directory, gigabytes);
  const { totalBytes, layers, tensors, largestTensor } = checkpoint;
  const text = `${(totalBytes / GB).toFixed(1)} GB in bf16, ${layers} layers, ${tensors} tensors, the largest ${(largestTensor / MB).toFixed(0)} MB`;
  console.log(`checkpoint of V2-Lite's sizes: ${text}\n`);
  return checkpoint;
}

async function thereOrGenerated(directory: string, gigabytes: number): Promise<GeneratedCheckpoint> {
  const note = `${directory}/generated.json`;
  try {
    return JSON.parse(await Deno.readTextFile(note));
  } catch {
    const started = performance.now();
    await Deno.mkdir(directory, { recursive: true });
    const generated = await generateCheckpoint(directory, gigabytes);
    await Deno.writeTextFile(note, JSON.stringify(generated));
    console.log(`written in ${seconds(performance.now() - started)} s`);
    return generated;
  }
}

/** In a process of its own. */
async function measured<R>(part: Part): Promise<R> {
  const args = ["run", "-A", "--quiet", "--config", file("../deno.json"), `--lock=${file("../tests/deno.lock")}`, file("main.ts"), "load", "part"];
  const { stdout, success } = await new Deno.Command(Deno.execPath(), { args: [...args, JSON.stringify(part)], stderr: "inherit" }).output();
  if (!success) throw new Error(`Loading failed: ${JSON.stringify(part)}`);
  return JSON.parse(new TextDecoder().decode(stdout).split("\n")[0]);
}

function file(path: string): string {
  return decodeURIComponent(new URL(path, import.meta.url).pathname);
}

async function runPart(part: Part): Promise<LoadResult> {
  if (part.kind === "nowhere") return await loadNowhere(part.directory, part.weights);
  const [megabytes, blocks] = part.blocks.split("x").map(Number);
  return await loadOntoDevice(part.directory, part, { blockBytes: megabytes << 20, blocks });
}

async function hostMemory(directory: string, { totalBytes, largestTensor }: GeneratedCheckpoint): Promise<void> {
  const bound = largestTensor * 3 + 300 * MB;
  console.log(`bound on host memory ${(bound / MB).toFixed(0)} MB\n`);
  const rows: (string | number)[][] = [["weights", "peak host memory", "seconds", "MB/s", "convert"]];
  for (const weights of ["keep", "q8", "q4"] as const) {
    const { peak, ms, times } = await measured<LoadResult>({ kind: "nowhere", directory, weights });
    rows.push([weights, `${(peak / MB).toFixed(0)} MB`, seconds(ms), (totalBytes / 1e3 / ms).toFixed(0), seconds(times.convert)]);
  }
  printTable(rows);
}

/** The loader alone, by every way that bytes can take. */
async function ontoDevice(
  directory: string,
  device: DeviceChoice,
  ways: { readonly staging: readonly StagingKind[]; readonly blocks: readonly string[] },
) {
  const plain = await readPlainly(directory, 6);
  console.log(`reading the files, six at a time: first ${plain.first.toFixed(1)}, then ${plain.again.toFixed(1)} GB/s\n`);
  const rows: (string | number)[][] = [["weights to the device", "MiB x blocks", "seconds", "GB/s", "read", "wait for device", "peak host memory"]];
  for (const staging of ways.staging) {
    for (const blocks of ways.blocks) {
      const { peak, ms, bytes, times } = await measured<LoadResult>({ kind: "device", directory, device, staging, blocks });
      const rate = (bytes / 1e6 / ms).toFixed(1);
      rows.push([staging, blocks, seconds(ms), rate, seconds(times.read), seconds(times.device), `${(peak / MB).toFixed(0)} MB`]);
    }
  }
  printTable(rows);
}

/** `serve`, from its start until it is ready. */
async function starts(directory: string, device: string, processes: readonly number[]): Promise<void> {
  const results: StartResult[] = [];
  for (const count of processes) results.push(await timeStart(directory, device, count));
  const rows: (string | number)[][] = [["start to ready", "seconds", "process", ...LOAD_PARTS]];
  for (const { processes, readyMs, loads } of results) {
    loads.forEach(({ name, times }, i) => {
      const what = i === 0 ? [processes === 1 ? "one process" : `${processes} workers`, seconds(readyMs)] : ["", ""];
      rows.push([...what, name, ...LOAD_PARTS.map((part) => seconds(times[part]))]);
    });
  }
  console.log();
  printTable(rows);
}

function seconds(ms = 0): string {
  return (ms / 1000).toFixed(1);
}

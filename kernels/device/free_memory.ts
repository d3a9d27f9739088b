/**
 * How much memory devices of this host have left. WebGPU does not say; the operating system and NVIDIA's driver do.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";

const QUERY = ["--query-gpu=index,memory.free", "--format=csv,noheader,nounits"];
/** Milliseconds in which nvidia-smi must answer. */
const PATIENCE = 10_000;

/** The host's own memory, a GPU by its number, whichever GPU has least, or null: the only GPU there is. */
export type MemoryOf = "host" | "any" | number | null;

/**
 * Bytes that are left.
 *
 * @throws {LatentmeshError} `device_unavailable` if it cannot be known
 */
export async function freeMemory(device: MemoryOf): Promise<number> {
  if (device === "host") return Deno.systemMemoryInfo().available;
  let text: string;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    const { success, stdout, stderr } = await new Deno.Command("nvidia-smi", { args: QUERY, stdout: "piped", stderr: "piped", signal }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
    text = new TextDecoder().decode(stdout);
  } catch (error) {
    const problem = error instanceof Deno.errors.NotFound ? "is not installed" : `does not answer: ${messageOf(error)}`;
    return unknown(`nvidia-smi, the only way to tell what a GPU has left, ${problem}`);
  }
  return freeOf(text, device);
}

/** {@link freeMemory} where that needs no permission that is not there; null if it cannot be known. */
export async function freeMemoryIfKnown(device: MemoryOf): Promise<number | null> {
  const { state } = await Deno.permissions.query(
    device === "host" ? { name: "sys", kind: "systemMemoryInfo" } : { name: "run", command: "nvidia-smi" },
  );
  if (state !== "granted") return null;
  return await freeMemory(device).catch(() => null);
}

/** Reads what nvidia-smi says, in MiB. @throws {LatentmeshError} `device_unavailable` */
export function freeOf(text: string, gpu: Exclude<MemoryOf, "host">): number {
  const free = new Map(text.trim().split("\n").map((line) => line.split(",").map(Number) as [number, number]));
  if (gpu === null && free.size > 1) {
    return unknown("this host has several GPUs, and nothing says which are used; list them with --gpus, or as gpus of the host in cluster.hosts");
  }
  const mebibytes = gpu === "any" ? Math.min(...free.values()) : gpu === null ? [...free.values()][0] : free.get(gpu);
  if (mebibytes === undefined || !Number.isFinite(mebibytes)) return unknown(`nvidia-smi says nothing of GPU ${gpu ?? 0}`);
  return mebibytes * 2 ** 20;
}

function unknown(problem: string): never {
  throw new LatentmeshError("device_unavailable", problem);
}

/**
 * How much memory devices of this host have left. WebGPU does not say; the operating system and NVIDIA's driver do.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../core/errors.ts";

const QUERY = ["--query-gpu=index,memory.free", "--format=csv,noheader,nounits"];

/**
 * Bytes that are left.
 *
 * @param device the host's own memory, a GPU by its number, or null: the only GPU there is
 * @throws {LatentmeshError} `invalid_config` if it cannot be known
 */
export async function freeMemory(device: "host" | number | null): Promise<number> {
  if (device === "host") return Deno.systemMemoryInfo().available;
  let text: string;
  try {
    const { success, stdout, stderr } = await new Deno.Command("nvidia-smi", { args: QUERY, stdout: "piped", stderr: "piped" }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
    text = new TextDecoder().decode(stdout);
  } catch (error) {
    const problem = error instanceof Deno.errors.NotFound ? "is not installed" : `does not answer: ${messageOf(error)}`;
    return unknown(`nvidia-smi, the only way to tell what a GPU has left, ${problem}`);
  }
  return freeOf(text, device);
}

/** Reads what nvidia-smi says, in MiB. @throws {LatentmeshError} `invalid_config` */
export function freeOf(text: string, gpu: number | null): number {
  const free = new Map(text.trim().split("\n").map((line) => line.split(",").map(Number) as [number, number]));
  if (gpu === null && free.size > 1) {
    return unknown("this host has several GPUs, and nothing says which are used; list them with --gpus, or as gpus of the host in cluster.hosts");
  }
  const mebibytes = gpu === null ? [...free.values()][0] : free.get(gpu);
  if (mebibytes === undefined || !Number.isFinite(mebibytes)) return unknown(`nvidia-smi says nothing of GPU ${gpu ?? 0}`);
  return mebibytes * 2 ** 20;
}

function unknown(problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use cache.memory: ${problem}. Use cache.maxTokens instead.`, { param: "cache.memory" });
}

/**
 * Loading by itself.
 *
 * @module
 */
import { countedBuffer } from "../../kernels/device/measuring_device.ts";
import { mapLimited } from "../../core/limited.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import type { LoadTimes } from "../../core/wire/load_times.ts";
import { CpuDevice } from "../../kernels/device/cpu_device.ts";
import type { Device, DeviceBuffer, StagingKind } from "../../kernels/device/device.ts";
import type { DeviceChoice } from "../../kernels/device/providers.ts";
import { openBenchDevice } from "../support/device.ts";
import { LoadClock } from "../../workers/load/load_clock.ts";
import { planWeights } from "../../workers/load/loader.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import type { UploadSizes } from "../../workers/load/upload.ts";

/** What loading took. */
export interface LoadResult {
  /** Highest resident memory of the process, in bytes; where device memory is host memory, it is part of it. */
  readonly peak: number;
  readonly ms: number;
  /** Bytes of the checkpoint. */
  readonly bytes: number;
  readonly times: LoadTimes;
}

/** Keeps no bytes. */
class DiscardDevice extends CpuDevice {
  override createBuffer(label: string, bytes: number): DeviceBuffer {
    return countedBuffer(label, bytes);
  }

  override write(): void {}
}

/** Loads onto a device that keeps nothing: the peak is the loader's own. */
export async function loadNowhere(directory: string, weights: WeightPolicy): Promise<LoadResult> {
  return await load(new DiscardDevice(), directory, weights);
}

/** Loads onto a device. */
export async function loadOntoDevice(
  directory: string,
  { device: choice, staging }: { readonly device: DeviceChoice; readonly staging: StagingKind },
  sizes: UploadSizes,
): Promise<LoadResult> {
  const device = await openBenchDevice(choice, { staging });
  try {
    return await load(device, directory, "keep", sizes);
  } finally {
    await device.close();
  }
}

async function load(device: Device, directory: string, weights: WeightPolicy, sizes?: UploadSizes): Promise<LoadResult> {
  using files = new DirectoryFiles(directory);
  const spec = parseModelConfig((await files.text("config.json"))!, directory);
  const clock = new LoadClock();
  const started = performance.now();
  const plan = planWeights(device, await Checkpoint.open(files), spec, { weights });
  let bytes = 0;
  await plan.load({ clock, sizes, onProgress: ({ totalBytes }) => bytes = totalBytes });
  return { peak: await peakMemory(), ms: performance.now() - started, bytes, times: clock.times };
}

async function peakMemory(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** GB/s of reading every file of weights into memory that is there, several places at a time: the first time, and again, when all of it is in the page cache. */
export async function readPlainly(directory: string, readers: number): Promise<{ readonly first: number; readonly again: number }> {
  using files = new DirectoryFiles(directory);
  const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).filter((name) => /^model.*\.safetensors$/.test(name)).sort();
  const blockBytes = 16 << 20;
  const memory = Array.from({ length: readers }, () => new Uint8Array(blockBytes));
  const once = async () => {
    let bytes = 0;
    const started = performance.now();
    for (const name of names) {
      const source = (await files.open(name))!;
      const blocks = Array.from({ length: Math.ceil(source.size / blockBytes) }, (_, i) => i * blockBytes);
      await mapLimited(blocks, readers, async (offset) => {
        const into = memory.pop()!;
        const length = Math.min(blockBytes, source.size - offset);
        await source.read(offset, length, into.subarray(0, length));
        memory.push(into);
        bytes += length;
      });
    }
    return bytes / 1e6 / (performance.now() - started);
  };
  return { first: await once(), again: await once() };
}

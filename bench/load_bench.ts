/**
 * Peak host memory of loading a large checkpoint. The weights go to a device that throws bytes away: on a machine whose "device" memory is host memory,
 * anything else would measure the device.
 *
 * @module
 */
import { parseModelConfig } from "../core/model/config.ts";
import { Checkpoint } from "../core/model/checkpoint.ts";
import { tensorShapes } from "../core/model/synthetic/tensor_shapes.ts";
import type { DeviceBuffer } from "../kernels/device.ts";
import { CpuDevice } from "../kernels/cpu_device.ts";
import { loadWeights } from "../workers/loader.ts";
import { DirectoryFiles } from "../workers/model_files.ts";
import { printTable } from "./table.ts";

const MB = 1e6;

/** Keeps no bytes. */
class DiscardDevice extends CpuDevice {
  override createBuffer(label: string, bytes: number): DeviceBuffer {
    return { label, bytes, destroy() {} };
  }

  override write(): void {}
}

/** A model of about `gigabytes` in bf16, a fifth of it in one tensor. */
function configOf(gigabytes: number) {
  const expertBytes = 3 * 1024 * 2048 * 2;
  const experts = 32;
  return {
    model_type: "deepseek_v3",
    vocab_size: 100_000,
    hidden_size: 2048,
    num_hidden_layers: Math.max(2, Math.round((gigabytes * 1e9 - 2 * 100_000 * 2048 * 2) / (experts * expertBytes))),
    num_attention_heads: 16,
    kv_lora_rank: 512,
    q_lora_rank: null,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    intermediate_size: 8192,
    moe_intermediate_size: 1024,
    first_k_dense_replace: 0,
    n_routed_experts: experts,
    n_shared_experts: 0,
    num_experts_per_tok: 4,
    n_group: 1,
    topk_group: 1,
    rms_norm_eps: 1e-6,
    max_position_embeddings: 4096,
  };
}

/** Writes the checkpoint; returns the bytes of all tensors and of the largest. */
async function generate(directory: string, gigabytes: number): Promise<{ total: number; largest: number }> {
  const config = configOf(gigabytes);
  await Deno.writeTextFile(`${directory}/config.json`, JSON.stringify(config));
  let offset = 0;
  let largest = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of tensorShapes(parseModelConfig(JSON.stringify(config), directory))) {
    const bytes = shape.reduce((a, b) => a * b, 2);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
    largest = Math.max(largest, bytes);
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  using file = await Deno.open(`${directory}/model.safetensors`, { write: true, create: true });
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.byteLength), true);
  // Values near one: any bytes would do, but these are finite.
  const block = new Uint8Array(new Uint16Array(1 << 22).map((_, i) => 0x3f00 + ((i * 37) & 0xff)).buffer);
  for (const part of [new Uint8Array(length.buffer), text]) await write(file, part);
  for (let left = offset; left > 0; left -= block.byteLength) await write(file, block.subarray(0, Math.min(left, block.byteLength)));
  return { total: offset, largest };
}

async function write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done));
}

/** Highest resident memory of this process so far, in bytes. */
async function peakMemory(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

/** Runs the bench; each policy in a process of its own, because peaks never go down. */
export async function loadBench([gigabytes = "2", directory, policy]: readonly string[]): Promise<void> {
  if (directory !== undefined) return await loadOnce(directory, policy as "keep");
  const temporary = await Deno.makeTempDir();
  try {
    const { total, largest } = await generate(temporary, Number(gigabytes));
    const bound = largest * 3 + 300 * MB;
    console.log(
      `checkpoint of ${(total / MB).toFixed(0)} MB, largest tensor ${(largest / MB).toFixed(0)} MB; bound on host memory ${
        (bound / MB).toFixed(0)
      } MB\n`,
    );
    const rows: (string | number)[][] = [["weights", "peak host memory", "seconds", "MB/s"]];
    for (const policy of ["keep", "q8", "q4"]) {
      const args = ["run", "-A", new URL("main.ts", import.meta.url).pathname, "load", gigabytes, temporary, policy];
      const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
      const { peak, seconds } = JSON.parse(new TextDecoder().decode(stdout).split("\n")[0]);
      rows.push([policy, `${(peak / MB).toFixed(0)} MB`, seconds.toFixed(1), (total / MB / seconds).toFixed(0)]);
    }
    printTable(rows);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

async function loadOnce(directory: string, weights: "keep" | "q8" | "q4"): Promise<void> {
  using files = new DirectoryFiles(directory);
  const spec = parseModelConfig((await files.text("config.json"))!, directory);
  const started = performance.now();
  await loadWeights(new DiscardDevice(), await Checkpoint.open(files), spec, { weights });
  console.log(JSON.stringify({ peak: await peakMemory(), seconds: (performance.now() - started) / 1000 }));
}

/**
 * Runs llama.cpp beside us: GGUF files of our models, and measurements in a process of its own.
 *
 * @module
 */
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import { exportGguf, exportUnpacked } from "../gguf/export.ts";
import type { GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import type { LlamaResult, LlamaTask } from "./llama_child.ts";

/** node-llama-cpp where a person has installed it; null where nobody says. `npm install --prefix DIR --ignore-scripts node-llama-cpp@3.22.1`, and then `BENCH_LLAMA=DIR`. */
export function llamaModule(): string | null {
  const directory = Deno.env.get("BENCH_LLAMA");
  return directory === undefined ? null : new URL(`file://${Deno.realPathSync(directory)}/node_modules/node-llama-cpp/dist/index.js`).href;
}

/** Measures a file. @throws {Error} with what the process said if it ended badly */
export function runLlama(task: LlamaTask): Promise<LlamaResult> {
  return runLlamaChild(new URL("./llama_child.ts", import.meta.url), task);
}

/** Runs a process with llama.cpp in it. @returns the last line that it wrote @throws {Error} with what it said if it ended badly */
export async function runLlamaChild<T>(child: URL, task: object): Promise<T> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", "--no-config", "--node-modules-dir=manual", child.href, JSON.stringify(task)],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout).trim();
  if (!success) throw new Error(`llama.cpp ended badly:\n${text}\n${new TextDecoder().decode(stderr)}`);
  return JSON.parse(text.split("\n").at(-1)!);
}

/** Writes a model as GGUF, unless it is there already. @param unpacked whether with what weights stand for, in F32 */
export async function ggufFile(
  directory: string,
  name: string,
  files: ModelFiles,
  weights: GgufTensorType,
  { unpacked = false }: { readonly unpacked?: boolean } = {},
): Promise<string> {
  const path = `${directory}/${name}-${weights}${unpacked ? "-as-F32" : ""}.gguf`;
  if (await Deno.stat(path).then(() => true, () => false)) return path;
  // Under its name only when it is whole.
  using file = await Deno.open(`${path}.part`, { write: true, create: true, truncate: true });
  for await (const bytes of (unpacked ? exportUnpacked : exportGguf)(files, weights)) {
    for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done));
  }
  await Deno.rename(`${path}.part`, path);
  return path;
}

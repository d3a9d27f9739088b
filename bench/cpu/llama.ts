/**
 * Runs llama.cpp beside us: GGUF files of our models, and measurements in a process of its own.
 *
 * @module
 */
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import { exportGguf } from "../gguf/export.ts";
import type { GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import type { LlamaResult, LlamaTask } from "./llama_child.ts";

/** node-llama-cpp where a person has installed it; null where nobody says. `npm install --prefix DIR --ignore-scripts node-llama-cpp@3.22.1`, and then `BENCH_LLAMA=DIR`. */
export function llamaModule(): string | null {
  const directory = Deno.env.get("BENCH_LLAMA");
  return directory === undefined ? null : new URL(`file://${Deno.realPathSync(directory)}/node_modules/node-llama-cpp/dist/index.js`).href;
}

/** Measures a file. @throws {Error} with what the process said if it ended badly */
export async function runLlama(task: LlamaTask): Promise<LlamaResult> {
  const child = new URL("./llama_child.ts", import.meta.url).href;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", "--no-config", "--node-modules-dir=manual", child, JSON.stringify(task)],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout).trim();
  if (!success) throw new Error(`llama.cpp ended badly:\n${text}\n${new TextDecoder().decode(stderr)}`);
  return JSON.parse(text.split("\n").at(-1)!);
}

/** Writes a model as GGUF, unless it is there already. */
export async function ggufFile(directory: string, name: string, files: ModelFiles, weights: GgufTensorType): Promise<string> {
  const path = `${directory}/${name}-${weights}.gguf`;
  if (await Deno.stat(path).then(() => true, () => false)) return path;
  // Under its name only when it is whole.
  using file = await Deno.open(`${path}.part`, { write: true, create: true, truncate: true });
  for await (const bytes of exportGguf(files, weights)) {
    for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done));
  }
  await Deno.rename(`${path}.part`, path);
  return path;
}

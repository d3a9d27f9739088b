/**
 * The tensors of a file under the names that they have in checkpoints of Hugging Face's form. Nothing is copied: experts are parts of what is stacked.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import type { StoredTensor } from "../checkpoint.ts";
import type { ByteSource } from "../safetensors.ts";
import type { ModelSpec } from "../spec.ts";
import type { GgufTensorInfo } from "./header.ts";
import { deepseek2Tensors, type GgufTensorSource } from "./tensor_names.ts";
import { ggufBytes } from "./tensor_types.ts";

/** A tensor, and the file of several that it is in. */
export interface LocatedTensor extends GgufTensorInfo {
  readonly source: ByteSource;
}

/** Finds every tensor of a model. @param file how it is named in errors @throws {LatentmeshError} `invalid_checkpoint` if one is missing or of another shape */
export function ggufTensors(file: string, spec: ModelSpec, found: ReadonlyMap<string, LocatedTensor>): Map<string, StoredTensor> {
  const stored = new Map<string, StoredTensor>();
  for (const wanted of deepseek2Tensors(spec)) {
    const { name, shape, from, part } = wanted;
    if (part !== null && found.has(wholeName(name))) {
      const whole = [spec.heads * (spec.nopeWidth + spec.valueWidth), spec.latentWidth];
      stored.set(from[0], slice(require(file, found, { name: wholeName(name), shape: whole }), whole, 0));
      continue;
    }
    const fused = /\.ffn_(gate|up)_exps\./.exec(name);
    if (fused !== null && !found.has(name) && found.has(fusedName(name))) {
      const [experts, rows, columns] = shape;
      const tensor = require(file, found, { name: fusedName(name), shape: [experts, 2 * rows, columns] });
      from.forEach((expert, i) => stored.set(expert, slice(tensor, [rows, columns], (2 * i + (fused[1] === "up" ? 1 : 0)) * rows * columns)));
      continue;
    }
    const tensor = require(file, found, wanted);
    if (part !== null) stored.set(splitName(from[0], part), slice(tensor, shape, 0));
    else if (from.length === 1) stored.set(from[0], slice(tensor, shape, 0));
    else {
      const [, rows, columns] = shape;
      from.forEach((expert, i) => stored.set(expert, slice(tensor, [rows, columns], i * rows * columns)));
    }
  }
  return stored;
}

/** Whether keys and values are made of latents by a tensor, which has DeepSeek's name here, as all have. */
export function isLatentUp(name: string): boolean {
  return name.endsWith(LATENT_UP);
}

/** The same of keys, or values, where the two are not in one tensor: [heads, latents, width], or [heads, width, latents]. */
export function splitName(name: string, part: "keys" | "values"): string {
  return name.slice(0, -LATENT_UP.length) + (part === "keys" ? ".k_b_proj.weight" : ".v_b_proj.weight");
}

const LATENT_UP = ".kv_b_proj.weight";

/** Both in one, as files were before llama.cpp kept latents. */
function wholeName(name: string): string {
  return name.replace(/\.attn_[kv]_b\./, ".attn_kv_b.");
}

/** Gates and what they gate in one. */
function fusedName(name: string): string {
  return name.replace(/\.ffn_(gate|up)_exps\./, ".ffn_gate_up_exps.");
}

function require(file: string, found: ReadonlyMap<string, LocatedTensor>, { name, shape }: Pick<GgufTensorSource, "name" | "shape">): LocatedTensor {
  const tensor = found.get(name) ?? found.get(name.replace(/\.bias$/, ""));
  if (tensor === undefined) throw new LatentmeshError("invalid_checkpoint", `Cannot load ${file}: tensor "${name}" is missing`);
  // There are files in which heads follow each other in rows of one matrix.
  const flat = shape.length === 3 && tensor.shape.length === 2 ? [shape[0] * shape[1], shape[2]] : shape;
  if (tensor.shape.join() === flat.join()) return tensor;
  const problem = `has shape [${tensor.shape.join(", ")}] where the metadata implies [${shape.join(", ")}]`;
  throw new LatentmeshError("invalid_checkpoint", `Cannot load ${file}: tensor "${name}" ${problem}`);
}

/** Part of a tensor. @param first of its elements, at the beginning of a row */
function slice({ type, offset, source }: LocatedTensor, shape: readonly number[], first: number): StoredTensor {
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  return { dtype: type, shape, offset: offset + ggufBytes(type, first), bytes: ggufBytes(type, elements), source };
}

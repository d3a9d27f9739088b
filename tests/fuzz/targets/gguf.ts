/**
 * GGUF files.
 *
 * @module
 */
import { ggufHead, type GgufTensor, ggufTensorBytes, type WrittenValue } from "../../../bench/gguf/head.ts";
import { deepseek2Metadata } from "../../../bench/gguf/metadata.ts";
import { vocabularyMetadata } from "../../../bench/gguf/vocabulary.ts";
import type { Random } from "../../../bench/support/random.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { GgufFiles } from "../../../core/model/gguf/gguf_files.ts";
import { readGgufHeader } from "../../../core/model/gguf/header.ts";
import { deepseek2Tensors } from "../../../core/model/gguf/tensor_names.ts";
import { MatrixSource, readMatrix } from "../../../core/model/matrix_source.ts";
import { configOf } from "../../../core/model/synthetic/shapes.ts";
import { syntheticTokenizer } from "../../../core/model/synthetic/tokenizer_text.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { roundUp } from "../../../core/numeric.ts";
import { memoryFolder } from "../../support/gguf.ts";
import { memorySource } from "../../support/safetensors.ts";
import { mutateBytes, pick } from "../mutate.ts";
import { named, type Target } from "../target.ts";

const SPEC = parseModelConfig(configOf("tiny", 2), "tiny");
const SOURCES = deepseek2Tensors(SPEC);
const METADATA = new Map([...deepseek2Metadata(SPEC, "x"), ...vocabularyMetadata(syntheticTokenizer(SPEC.vocabSize), SPEC)]);

function fileOf(metadata: ReadonlyMap<string, WrittenValue>, tensors: readonly GgufTensor[]): Uint8Array<ArrayBuffer> {
  const head = ggufHead(metadata, tensors);
  const file = new Uint8Array(tensors.reduce((sum, tensor) => sum + roundUp(ggufTensorBytes(tensor), 32), head.byteLength));
  file.set(head);
  return file;
}

/** Of one value of each type, and two tensors: short, so that most changes hit something. */
const SMALL = fileOf(
  new Map<string, WrittenValue>([
    ["general.architecture", { type: "string", value: "deepseek2" }],
    ["a", { type: "u32", value: 7 }],
    ["b", { type: "f32", value: 0.5 }],
    ["c", { type: "bool", value: true }],
    ["d", { type: "strings", value: ["x", "yz"] }],
    ["e", { type: "i32s", value: [1, 2, 3] }],
  ]),
  [{ name: "t", shape: [2, 32], type: "Q8_0" }, { name: "u", shape: [3], type: "F32" }],
);

/** What begins a file: what is accepted lies in it, and nowhere twice. */
export const ggufHeaders: Target = {
  name: "GGUF headers",
  async run(random) {
    const bytes = mutateBytes(random, SMALL);
    const header = await named(() => readGgufHeader(memorySource("x", bytes)));
    if (header === null) return;
    let end = 0;
    for (const { offset, bytes: size } of [...header.tensors.values()].sort((a, b) => a.offset - b.offset)) {
      if (offset < end) throw new Error(`a tensor at ${offset} where another ends at ${end}`);
      end = offset + size;
    }
    if (end > bytes.length) throw new Error(`tensors end at ${end} of ${bytes.length}`);
  },
};

const NUMBERS = [0, 1, 2, 3, 7, 31, 33, 64, 4096, 2 ** 31 - 1, 2 ** 32 - 1];
const TEXTS = ["", "llama", "deepseek2", "yarn", "linear", "gpt2", "kimi-k2", "deepseek-v3", "falcon", "constructor", "__proto__", "{{", "\u0000"];

function anyWritten(random: Random): WrittenValue {
  switch (random.below(6)) {
    case 0:
      return { type: "u32", value: pick(random, NUMBERS) };
    case 1:
      return { type: "i32", value: -pick(random, NUMBERS.slice(0, 9)) };
    case 2:
      return { type: "f32", value: pick(random, [0, -1, 0.5, 1e30, NaN, Infinity, 1e-30]) };
    case 3:
      return { type: "bool", value: random.below(2) === 0 };
    case 4:
      return { type: "string", value: pick(random, TEXTS) };
    default:
      return random.below(2) === 0
        ? { type: "strings", value: [pick(random, TEXTS), "a"] }
        : { type: "i32s", value: [pick(random, NUMBERS.slice(0, 9))] };
  }
}

/** Keys that may be there, and are not written of this model. */
const MORE_KEYS = [
  "general.type",
  "general.alignment",
  "split.count",
  "split.no",
  "deepseek2.nextn_predict_layers",
  "deepseek2.expert_group_count",
  "deepseek2.attention.temperature_scale",
  "deepseek2.rope.scaling.type",
  "deepseek2.rope.scaling.factor",
  "deepseek2.rope.scaling.yarn_log_multiplier",
  "tokenizer.huggingface.json",
  "tokenizer.chat_template",
  "tokenizer.chat_template.x",
  "tokenizer.ggml.eot_token_id",
  "general.sampling.temp",
];

/** Whole models: absurd metadata, tensors that are gone or of other shapes and types. */
export const ggufModels: Target = {
  name: "GGUF models",
  async run(random) {
    const metadata = new Map<string, WrittenValue>(METADATA);
    for (let change = random.below(4); change > 0; change--) {
      const key = pick(random, [...METADATA.keys(), ...MORE_KEYS]);
      if (random.below(4) === 0) metadata.delete(key);
      else metadata.set(key, anyWritten(random));
    }
    const tensors = SOURCES.map(({ name, shape }): GgufTensor => ({ name, shape, type: "F16" }));
    for (let change = random.below(3); change > 0; change--) {
      const at = random.below(tensors.length);
      const { name, shape } = tensors[at];
      if (random.below(3) === 0) tensors.splice(at, 1);
      else if (random.below(2) === 0) tensors[at] = { name, shape: [...shape].reverse(), type: "F16" };
      else tensors[at] = { name, shape, type: shape.at(-1)! % 32 === 0 ? pick(random, ["Q8_0", "Q4_0", "Q5_1"] as const) : "BF16" };
    }
    const files = new GgufFiles(memoryFolder({ "m.gguf": fileOf(metadata, tensors) }), "m.gguf");
    await named(() => readModelPackage(files));
    const checkpoint = await named(() => Checkpoint.open(files));
    if (checkpoint === null) return;
    const { heads, nopeWidth, valueWidth, latentWidth } = SPEC;
    await named(() =>
      readMatrix(
        new MatrixSource(checkpoint, "model.layers.0.self_attn.kv_b_proj.weight", [heads * (nopeWidth + valueWidth), latentWidth], {
          fp8Block: null,
        }),
      )
    );
    await named(() => readMatrix(new MatrixSource(checkpoint, "model.layers.1.mlp.experts.3.up_proj.weight", [32, 64], { fp8Block: null })));
  },
};

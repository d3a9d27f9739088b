/**
 * What model directories hold.
 *
 * @module
 */
import { CACHE_DTYPES } from "../../../core/cache/cache_dtype.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { parseGenerationConfig } from "../../../core/model/generation_config.ts";
import { ropeTable } from "../../../core/model/rope.ts";
import { readSafetensorsHeader } from "../../../core/model/safetensors.ts";
import { writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { ChatTemplate } from "../../../core/text/chat_template.ts";
import { createDetokenizer } from "../../../core/text/detokenizer.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { layerBases } from "../../../core/tpla/basis.ts";
import { readBasis, writeBasis } from "../../../core/tpla/basis_file.ts";
import { partition } from "../../../core/tpla/partition.ts";
import { cacheBytesPerToken, handoffBytesPerToken } from "../../../core/tpla/plan.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { Random } from "../../../bench/support/random.ts";
import { memoryFiles, memorySource } from "../../support/safetensors.ts";
import { mutateBytes, mutateJson, mutateText, pick } from "../mutate.ts";
import { named, type Target } from "../target.ts";

const CONFIGS = [
  "models/tiny-mla",
  "tests/golden/deepseek-v2-lite-tiny",
  "tests/golden/deepseek-v3-tiny",
  "tests/golden/deepseek-v3-fp8-tiny",
  "tests/golden/mistral4-tiny",
  "tests/golden/youtu-tiny",
  "tests/golden/minicpm3-longrope-tiny",
  "tests/golden/deepseek-v32-tiny",
  "tests/golden/glm-moe-dsa-tiny",
  "tests/golden/axk1-tiny",
].map((
  path,
) => JSON.parse(Deno.readTextFileSync(`${ROOT}/${path}/config.json`)));

/** Of four bits, as they are published. */
const QUANTIZED = [
  {
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    sparsity_config: { format: "dense" },
    config_groups: {
      a: { format: "pack-quantized", weights: { num_bits: 4, type: "int", strategy: "group", group_size: 32, symmetric: true, actorder: "static" } },
      b: { weights: { num_bits: 8, type: "float", strategy: "channel", symmetric: true } },
    },
  },
  { quant_method: "awq", bits: 4, group_size: 128, zero_point: true, version: "gemm" },
  { quant_method: "gptq", bits: 4, group_size: -1, desc_act: true, static_groups: true, checkpoint_format: "gptq_v2" },
  { quant_method: "auto-round", bits: 4, group_size: 128, data_type: "int", packing_format: "auto_round:auto_gptq" },
].map((quantization_config) => ({ ...CONFIGS[2], quantization_config }));

/** `config.json`, and what is computed of a model before anything of it is read. */
export const configs: Target = {
  name: "configs",
  async run(random) {
    const text = JSON.stringify(mutateJson(random, pick(random, [...CONFIGS, ...QUANTIZED])) ?? null);
    const spec = await named(() =>
      parseModelConfig(random.below(20) === 0 ? mutateText(random, text, ["{", "}", "1e999", "null"]) : text, "config.json")
    );
    if (spec === null) return;
    const ranks = pick(random, [1, 2, 3, 8]);
    const latentGroups = pick(random, [1, ranks]);
    const cut = { ranks, latentGroups, halo: random.below(64), tokenShares: pick(random, [1, ranks / latentGroups]) };
    const shapes = await named(() => partition(spec, cut));
    ropeTable(spec.rope, 4);
    if (shapes === null) return;
    const dtype = pick(random, CACHE_DTYPES);
    const bytes = [handoffBytesPerToken(spec, shapes, dtype), ...shapes.map((shape) => cacheBytesPerToken(spec, shape, dtype))];
    if (!bytes.every(Number.isSafeInteger)) throw new Error(`a token takes ${bytes} bytes`);
  },
};

/** `generation_config.json`, and the index of several files. */
export const smallFiles: Target = {
  name: "small files",
  async run(random) {
    const generation = { do_sample: true, temperature: 0.6, top_p: 0.95, top_k: 40, repetition_penalty: 1.1, eos_token_id: [1, 2] };
    await named(() => parseGenerationConfig(JSON.stringify(mutateJson(random, generation) ?? null), "generation_config.json"));
    const index = { metadata: {}, weight_map: { a: "x-1.safetensors", b: "x-2.safetensors" } };
    const shard = (name: string) => writeSafetensors([{ name, dtype: "U8", shape: [1], bytes: Uint8Array.of(1) }]);
    const files = {
      "model.safetensors.index.json": JSON.stringify(mutateJson(random, index) ?? null),
      "x-1.safetensors": shard("a"),
      "x-2.safetensors": shard("b"),
    };
    await named(() => Checkpoint.open(memoryFiles(files)));
  },
};

const TENSORS = writeSafetensors([
  { name: "a", dtype: "F32", shape: [2], bytes: new Uint8Array(8) },
  { name: "b", dtype: "U8", shape: [3], bytes: new Uint8Array(3) },
], { format: "pt" });

/** Safetensors files: what is accepted tiles the file. */
export const safetensors: Target = {
  name: "safetensors",
  async run(random) {
    const bytes = random.below(2) === 0
      ? mutateBytes(random, TENSORS)
      : withHeader(mutateText(random, headerOf(TENSORS), ['"dtype"', "[]", "{", "}", "1e99", "-1", ","]));
    const header = await named(() => readSafetensorsHeader(memorySource("x", bytes)));
    if (header === null) return;
    const ranges = [...header.tensors.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
    let at = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    for (const { offset, bytes: size } of ranges) {
      if (offset !== at) throw new Error(`a tensor at ${offset} where ${at} is next`);
      at += size;
    }
    if (at !== bytes.length) throw new Error(`tensors end at ${at} of ${bytes.length}`);
  },
};

function headerOf(file: Uint8Array<ArrayBuffer>): string {
  return new TextDecoder().decode(file.subarray(8, 8 + Number(new DataView(file.buffer).getBigUint64(0, true))));
}

function withHeader(header: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + 11);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

const WIDTH = 4;
const BASIS = (() => {
  const random = new Random(1);
  const moments = () => {
    const diagonal = random.normals(WIDTH).map((value) => value * value + 0.1);
    return Float64Array.from({ length: WIDTH * WIDTH }, (_, i) => i % (WIDTH + 1) === 0 ? diagonal[i / (WIDTH + 1)] : 0.01);
  };
  const statistics = [0, 1].map(() => ({ latents: moments(), queries: moments(), values: moments() }));
  return writeBasis({
    provenance: { modelHash: "a".repeat(64), textHash: "b".repeat(64), tokens: 1 },
    chosen: [],
    width: WIDTH,
    statistics,
    defaults: statistics.map((one) => chooseBasis("balanced", WIDTH, one)),
  });
})();

/** `basis.safetensors`: what is accepted are numbers, and matrices that belong together. */
export const bases: Target = {
  name: "bases",
  async run(random) {
    const bytes = mutateBytes(random, BASIS);
    const basis = await named(() => readBasis(memorySource("x", bytes), { layers: 2, latentWidth: WIDTH }));
    if (basis === null) return;
    for (const kind of ["balanced", "pca"] as const) {
      const layers = await named(() => layerBases(basis, kind, { lambda: 0.5, seed: 1 }));
      if (layers?.some(({ transform, inverse }) => ![...transform, ...inverse].every(Number.isFinite))) {
        throw new Error(`a ${kind} basis of no numbers`);
      }
    }
  },
};

/** Small tokenizers of the two kinds there are. */
const TOKENIZERS = [
  {
    version: "1.0",
    added_tokens: [{ id: 0, content: "<s>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace", pattern: { String: " " }, content: "▁" }] },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }],
    },
    model: {
      type: "BPE",
      unk_token: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: { "<s>": 0, "<0x41>": 1, "▁": 2, t: 3, h: 4, th: 5 },
      merges: ["t h"],
    },
  },
  {
    version: "1.0",
    added_tokens: [{ id: 9, content: "<|user|>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [{ type: "Split", pattern: { Regex: "\\p{N}{1,3}" }, behavior: "Isolated", invert: false }, {
        type: "ByteLevel",
        add_prefix_space: false,
        trim_offsets: true,
        use_regex: true,
      }],
    },
    post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", unk_token: null, vocab: { a: 0, b: 1, ab: 2, "Ġ": 3, "1": 4 }, merges: [["a", "b"]] },
  },
];

/** `tokenizer.json` and its configuration: what can be made of them reads and writes texts, or says by name that it cannot. */
export const tokenizers: Target = {
  name: "tokenizers",
  async run(random) {
    const tokenizer = JSON.stringify(mutateJson(random, pick<object>(random, TOKENIZERS)) ?? null);
    const config = JSON.stringify(
      mutateJson(random, { bos_token: "<s>", eos_token: { content: "</s>" }, add_bos_token: true, chat_template: "x" }) ?? null,
    );
    const made = await named(() => TextTokenizer.of({ name: "x", tokenizer, tokenizerFile: "tokenizer.json", config, template: null }));
    await use(made);
  },
};

/** The same of a `tiktoken.model`. */
export const tiktokenModels: Target = {
  name: "tiktoken",
  async run(random) {
    const lines = Array.from({ length: 256 + random.below(8) }, (_, rank) => `${btoa(rank < 256 ? String.fromCharCode(rank) : `th${rank}`)} ${rank}`);
    const tokenizer = random.below(3) === 0 ? mutateText(random, lines.join("\n"), ["\n", " ", "=", "-1", "YQ== 0"]) : lines.join("\n");
    const config = {
      tokenizer_class: "TikTokenTokenizer",
      bos_token: "[BOS]",
      added_tokens_decoder: { 300: { content: "[BOS]", special: true }, 301: { content: "<|im_end|>", lstrip: false, special: false } },
    };
    const text = JSON.stringify(random.below(2) === 0 ? mutateJson(random, config) ?? null : config);
    await use(await named(() => TextTokenizer.of({ name: "x", tokenizer, tokenizerFile: "tiktoken.model", config: text, template: null })));
  },
};

async function use(made: TextTokenizer | null): Promise<void> {
  if (made === null) return;
  const tokens = await named(() => made.encode("the ab 123 é", { special: true }));
  await named(() => made.leastTokens("the ab"));
  await named(() => {
    const detokenizer = createDetokenizer(made);
    for (const token of [...tokens?.slice(0, 8) ?? [], 0, 5, 99]) detokenizer.push(token);
    detokenizer.finish();
    for (const token of [0, 5, 99]) made.bytesOf(token);
  });
}

const TEMPLATE =
  "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' and loop.index0 > 0 %}<|{{ message['role'] }}|>{{ message.content | trim }}{% else %}" +
  "{% set x = namespace(a=1) %}{% set x.a = x.a + 1 %}{{ x.a }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}{{ tools | tojson }}";
const JINJA = [
  "{% for i in range(3) %}",
  "{% endfor %}",
  "{{ messages[0] }}",
  "{% if",
  "%}",
  "{{",
  "}}",
  "| tojson",
  "| map(attribute='role') | join",
  "loop.last",
  "is defined",
  "raise_exception('x')",
  "{% macro f(a) %}",
  "{% endmacro %}",
  "f(1)",
  "messages[::-1]",
  "'a' * 3",
  "1 / 0",
  "none.x",
  "strftime_now('%Y')",
  "{#",
  "#}",
];

/** Chat templates: they render, or refuse by name. */
export const templates: Target = {
  name: "templates",
  async run(random) {
    const template = mutateText(random, TEMPLATE, JINJA);
    const made = await named(() => ChatTemplate.of({ name: "x", template }, { bos_token: "<s>" }));
    if (made === null) return;
    await named(() => made.render([{ role: "system", content: "s" }, { role: "user", content: " q " }], { tools: [{ type: "function" }] }));
  },
};

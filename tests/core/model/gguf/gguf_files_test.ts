/**
 * Models in GGUF files as the same models in Hugging Face's form: what config.json says, every tensor, tokens and templates.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { exportGguf, type GgufOptions } from "../../../../bench/gguf/export.ts";
import { ggufHead, ggufTensorBytes, type WrittenValue } from "../../../../bench/gguf/head.ts";
import { deepseek2Metadata, ropeMetadata } from "../../../../bench/gguf/metadata.ts";
import { LatentmeshError } from "../../../../core/errors.ts";
import { Checkpoint, type ModelFiles } from "../../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../../core/model/config.ts";
import { GgufFiles } from "../../../../core/model/gguf/gguf_files.ts";
import { modelNameOf, partsOf } from "../../../../core/model/gguf/parts.ts";
import { deepseek2Tensors, type GgufTensorSource } from "../../../../core/model/gguf/tensor_names.ts";
import { MatrixSource, readMatrix } from "../../../../core/model/matrix_source.ts";
import type { ModelSpec } from "../../../../core/model/spec.ts";
import { readVector } from "../../../../core/model/stored_vector.ts";
import { modelTensors } from "../../../../core/model/synthetic/model_tensors.ts";
import { roundUp } from "../../../../core/numeric.ts";
import { readModelPackage } from "../../../../core/model_package.ts";
import { DirectoryFiles, openModelFiles } from "../../../../workers/load/model_files.ts";
import { type Fixture, fixtureDirectory } from "../../../support/checkpoints.ts";
import { ggufBytesOf, memoryFolder } from "../../../support/gguf.ts";

const FIXTURES: readonly Fixture[] = ["tiny-mla", "deepseek-v2-lite-tiny", "deepseek-v3-tiny", "glm4-moe-lite-tiny", "youtu-tiny"];

const specOf = async (files: ModelFiles) => parseModelConfig((await files.text("config.json"))!, files.name);

/** What the architecture does not say, and what only others say. */
const without = ({ family: _, fp8Block: __, mtpLayers: ___, zeroToken: ____, ...spec }: ModelSpec) => spec;

/** Every tensor of a model, in float32. */
async function* tensorsOf(files: ModelFiles, spec: ModelSpec): AsyncGenerator<[name: string, values: Float32Array]> {
  const checkpoint = await Checkpoint.open(files);
  for (const { name, shape } of modelTensors(spec)) {
    const sizes = [shape[0], shape[1]] as const;
    yield [
      name,
      shape.length === 1
        ? await readVector(checkpoint, name, shape[0])
        : await readMatrix(new MatrixSource(checkpoint, name, sizes, { fp8Block: spec.fp8Block })),
    ];
  }
}

async function open(files: ModelFiles, options: Partial<GgufOptions> = {}): Promise<GgufFiles> {
  return new GgufFiles(memoryFolder({ "m.gguf": await ggufBytesOf(files, "F32", options) }), "m.gguf");
}

async function assertSameTensors(actual: ModelFiles, expected: ModelFiles): Promise<void> {
  const theirs = tensorsOf(expected, await specOf(expected));
  for await (const [name, values] of tensorsOf(actual, await specOf(actual))) {
    const { value } = await theirs.next();
    assertEquals(value![0], name);
    assertEquals(values, value![1], name);
  }
}

/** As files were before llama.cpp kept latents, or are with gates and what they gate in one. */
function otherwise(spec: ModelSpec): GgufTensorSource[] {
  return deepseek2Tensors(spec).flatMap((source) => {
    const { name, shape, from } = source;
    if (name.includes("attn_v_b") || name.includes("ffn_up_exps")) return [];
    if (name.includes("attn_k_b")) {
      return [{
        ...source,
        name: name.replace("attn_k_b", "attn_kv_b"),
        shape: [spec.heads * (spec.nopeWidth + spec.valueWidth), spec.latentWidth],
        part: null,
      }];
    }
    if (!name.includes("ffn_gate_exps")) return [source];
    const both = from.flatMap((gate) => [gate, gate.replace("gate_proj", "up_proj")]);
    return [{ ...source, name: name.replace("ffn_gate_exps", "ffn_gate_up_exps"), shape: [shape[0], 2 * shape[1], shape[2]], from: both }];
  });
}

describe("models in GGUF files", () => {
  for (const fixture of FIXTURES) {
    it(`are what the same checkpoint is: ${fixture}`, async () => {
      using expected = new DirectoryFiles(fixtureDirectory(fixture));
      using actual = await open(expected);
      assertEquals(without(await specOf(actual)), without(await specOf(expected)));
      await assertSameTensors(actual, expected);
    });
  }

  it("are of Mistral's kind where weights of experts are normalised and queries grow", async () => {
    using files = new DirectoryFiles(fixtureDirectory("mistral4-tiny"));
    const expected = await specOf(files);
    const tensors = deepseek2Tensors(expected).map(({ name, shape }) => ({ name, shape, type: "F32" as const }));
    const head = ggufHead(new Map([...deepseek2Metadata(expected, "x"), ...ropeMetadata((await files.text("config.json"))!)]), tensors);
    const bytes = new Uint8Array(head.byteLength + tensors.reduce((sum, tensor) => sum + roundUp(ggufTensorBytes(tensor), 32), 0));
    bytes.set(head);
    using actual = new GgufFiles(memoryFolder({ "m.gguf": bytes }), "m.gguf");
    const { bosToken, eosTokens } = expected;
    assertEquals({ ...without(await specOf(actual)), bosToken, eosTokens }, without(expected));
  });

  it("are read in older and newer forms: kv_b in one tensor, gates and what they gate in one", async () => {
    using expected = new DirectoryFiles(fixtureDirectory("deepseek-v3-tiny"));
    const { heads, nopeWidth, valueWidth, rope } = await specOf(expected);
    const u32 = (value: number): WrittenValue => ({ type: "u32", value });
    using actual = await open(expected, {
      tensors: otherwise,
      metadata: new Map([
        ["deepseek2.attention.head_count_kv", u32(heads)],
        ["deepseek2.attention.key_length", u32(nopeWidth + rope.width)],
        ["deepseek2.attention.value_length", u32(valueWidth)],
      ]),
    });
    await assertSameTensors(actual, expected);
  });

  it("are read from several files, and refused where parts do not belong together", async () => {
    using expected = new DirectoryFiles(fixtureDirectory("deepseek-v2-lite-tiny"));
    const half = (which: number) => (spec: ModelSpec) => deepseek2Tensors(spec).filter((_, i) => i % 2 === which);
    const split = (number: number, count: number, tensors: number) =>
      new Map<string, WrittenValue>([["split.no", { type: "u32", value: number }], ["split.count", { type: "u32", value: count }], [
        "split.tensors.count",
        { type: "u32", value: tensors },
      ]]);
    const count = deepseek2Tensors(await specOf(expected)).length;
    const [first, second] = [
      await ggufBytesOf(expected, "F32", { tensors: half(0), metadata: split(0, 2, count) }),
      await ggufBytesOf(expected, "F32", { tensors: half(1), metadata: split(1, 2, count) }),
    ];
    const of = (files: Record<string, Uint8Array<ArrayBuffer>>, file = "m-00001-of-00002.gguf") => new GgufFiles(memoryFolder(files), file);
    using whole = of({ "m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": second });
    await assertSameTensors(whole, expected);
    assertEquals((await readModelPackage(whole)).id, "m");
    const refused = async (files: GgufFiles, problem: string) => void await assertRejects(() => Checkpoint.open(files), LatentmeshError, problem);
    await refused(of({ "m-00001-of-00002.gguf": first }), "m-00002-of-00002.gguf, which is part of it, is missing");
    await refused(of({ "m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": first }), '"split.no" in its metadata is 0');
    await refused(of({ "m.gguf": first }, "m.gguf"), '"split.count" in its metadata is 2');
    await refused(of({ "m-00002-of-00002.gguf": second }, "m-00002-of-00002.gguf"), "name the first of its files, m-00001-of-00002.gguf");
    assertEquals(partsOf("x-00001-of-00003.gguf"), ["x-00001-of-00003.gguf", "x-00002-of-00003.gguf", "x-00003-of-00003.gguf"]);
    assertEquals(["a.b-Q4_K_M.gguf", "x-00001-of-00003.gguf", "DeepSeek-V2.5"].map(modelNameOf), ["a.b-Q4_K_M", "x", "DeepSeek-V2.5"]);
  });

  it("have the vocabulary and what begins and ends texts", async () => {
    using expected = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const template = "{{ bos_token }}{% for message in messages %}<|user|>{{ message.content }}{% endfor %}<|assistant|>";
    using actual = await open(expected, {
      metadata: new Map<string, WrittenValue>([
        ["tokenizer.chat_template", { type: "string", value: template }],
        ["tokenizer.chat_template.tool_use", { type: "string", value: "x" }],
        ["tokenizer.ggml.add_bos_token", { type: "bool", value: true }],
        ["tokenizer.ggml.eot_token_id", { type: "u32", value: 2 }],
        ["general.sampling.temp", { type: "f32", value: 0.3 }],
      ]),
    });
    const [ours, theirs] = [await readModelPackage(actual), await readModelPackage(expected)];
    for (const text of ["Hello, world: 12345 \n\n\tça va?", "<|user|>naïve 東京<|end_of_text|>", "", "  a"]) {
      for (const special of [true, false]) {
        const tokens = theirs.tokenizer.encode(text, { special });
        assertEquals(ours.tokenizer.encode(text, { special }), tokens);
        for (const skipSpecial of [true, false]) {
          assertEquals(ours.tokenizer.decode(tokens, { skipSpecial }), theirs.tokenizer.decode(tokens, { skipSpecial }));
        }
      }
    }
    assertEquals([ours.tokenizer.bosToken, ours.tokenizer.eosToken, ours.tokenizer.isSpecial(3)], [0, 1, true]);
    assertEquals(ours.chatTemplate!.render([{ role: "user", content: "q" }]), "<|begin_of_text|><|user|>q<|assistant|>");
    assertEquals(ours.generation, { sampling: { temperature: 0.3 }, eosTokens: [1, 2] });
  });

  it("are read a part at a time", async () => {
    using expected = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const bytes = await ggufBytesOf(expected, "F32");
    let [read, most] = [0, 0];
    using files = new GgufFiles(
      memoryFolder({ "m.gguf": bytes }, (_, count) => {
        read += count;
        most = Math.max(most, count);
      }),
      "m.gguf",
    );
    const spec = await specOf(files);
    const checkpoint = await Checkpoint.open(files);
    assert(read <= 4 << 20, `${read} bytes of the head, of ${bytes.byteLength}`);
    assert(most <= 1 << 20);
    read = 0;
    // One expert of eight, and one head's keys.
    await readMatrix(new MatrixSource(checkpoint, "model.layers.2.mlp.experts.5.up_proj.weight", [160, 320], { fp8Block: null }));
    assertEquals(read, 160 * 320 * 4);
    read = 0;
    const rows = [{ begin: 3 * 64, end: 3 * 64 + 32 }];
    await readMatrix(new MatrixSource(checkpoint, "model.layers.2.self_attn.kv_b_proj.weight", [8 * 64, spec.latentWidth], { fp8Block: null, rows }));
    assertEquals(read, 32 * 128 * 4);
  });

  it("are opened by path, and say what is wrong with them", async () => {
    using model = new DirectoryFiles(fixtureDirectory("deepseek-v2-lite-tiny"));
    const directory = await Deno.makeTempDir();
    try {
      const tokenizer = fixtureDirectory("tiny-mla");
      using named = new DirectoryFiles(tokenizer);
      const parts = await Array.fromAsync(
        exportGguf({ ...named, name: "x", open: (file) => named.open(file), text: (file) => named.text(file) }, "Q8_0"),
      );
      await Deno.writeFile(`${directory}/tiny.gguf`, new Uint8Array(await new Blob(parts).arrayBuffer()));
      using files = openModelFiles(`${directory}/tiny.gguf`);
      assertEquals((await readModelPackage(files)).id, "tiny");
      assertEquals(await files.location(), `${await Deno.realPath(directory)}/tiny.gguf`);
      using none = openModelFiles(`${directory}/none.gguf`);
      await assertRejects(() => readModelPackage(none), LatentmeshError, "there is no such file");
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
    const cases: [metadata: [string, WrittenValue][], problem: string][] = [
      [[["general.architecture", { type: "string", value: "llama" }]], 'has the architecture "llama"'],
      [[["general.type", { type: "string", value: "adapter" }]], 'is of the type "adapter"'],
      [[["deepseek2.rope.scaling.type", { type: "string", value: "linear" }]], 'is "linear"; supported are "none" and "yarn"'],
      [[["deepseek2.expert_gating_func", { type: "u32", value: 3 }]], "is 3; supported are 1 (softmax) and 2 (sigmoid)"],
      [[["deepseek2.block_count", { type: "string", value: "3" }]], "is not a number"],
      [[["deepseek2.block_count", { type: "u32", value: 4 }]], 'tensor "blk.3.attn_norm.weight" is missing'],
      [[["deepseek2.embedding_length", { type: "u32", value: 65 }]], "has shape [512, 64] where the metadata implies [512, 65]"],
    ];
    for (const [metadata, problem] of cases) {
      using files = await open(model, { metadata: new Map(metadata) });
      await assertRejects(() => Checkpoint.open(files), LatentmeshError, problem);
    }
    const others: [fixture: Fixture, key: string, value: WrittenValue, problem: string][] = [
      ["glm4-moe-lite-tiny", "deepseek2.rope.scaling.factor", { type: "f32", value: 4 }, "is missing beside a factor"],
      ["deepseek-v3-tiny", "deepseek2.expert_gating_func", { type: "u32", value: 1 }, "there is a bias that experts are chosen by"],
    ];
    for (const [fixture, key, value, problem] of others) {
      using other = new DirectoryFiles(fixtureDirectory(fixture));
      using files = await open(other, { metadata: new Map([[key, value]]) });
      await assertRejects(() => Checkpoint.open(files), LatentmeshError, problem);
    }
    const texts: [metadata: [string, WrittenValue][], problem: string][] = [
      [[["tokenizer.ggml.model", { type: "string", value: "llama" }]], 'only "gpt2" (byte-pair encoding) is supported'],
      [[["tokenizer.ggml.pre", { type: "string", value: "falcon" }]], 'is "falcon"; supported are gpt-2,'],
      [[["tokenizer.ggml.bos_token_id", { type: "u32", value: 9999 }]], "is 9999, and there are 512 tokens"],
    ];
    for (const [metadata, problem] of texts) {
      using files = await open(model, { metadata: new Map(metadata) });
      await assertRejects(() => readModelPackage(files), LatentmeshError, problem);
    }
    using empty = new GgufFiles(memoryFolder({ "m.gguf": ggufHead(new Map(), []) }), "m.gguf");
    await assertRejects(() => readModelPackage(empty), LatentmeshError, 'has the architecture "undefined"');
  });
});

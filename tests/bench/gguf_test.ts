/**
 * GGUF files, read by somebody else's reader: names, shapes, metadata, and values as they are in the checkpoint.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { gguf } from "npm:@huggingface/gguf@0.4.6";
import { Random, SEED } from "../../bench/support/random.ts";
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { exportGguf, exportUnpacked } from "../../bench/gguf/export.ts";
import { packBlocks } from "../../bench/gguf/pack_blocks.ts";
import { widenBlocks } from "../../core/model/gguf/block_levels.ts";
import { GGUF_TENSOR_TYPES, type GgufTensorType } from "../../core/model/gguf/tensor_types.ts";
import { MatrixSource, readMatrix } from "../../core/model/matrix_source.ts";
import { configOf } from "../../core/model/synthetic/shapes.ts";
import { SyntheticFiles } from "../../core/model/synthetic/synthetic_files.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";

type WrittenTensorType = Extract<GgufTensorType, "F32" | "F16" | "Q8_0" | "Q4_0">;

/** By the number that files have for it. */
const TYPES = new Map(Object.entries(GGUF_TENSOR_TYPES).map(([name, { code }]) => [code as number, name as WrittenTensorType]));

/** Values of packed blocks. */
function unpackBlocks(type: WrittenTensorType, packed: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (type === "F32") return new Float32Array(packed.slice().buffer);
  if (type === "F16") return Float32Array.from(new Float16Array(packed.slice().buffer));
  const { elements, bytes } = GGUF_TENSOR_TYPES[type];
  const values = new Float32Array(packed.byteLength / bytes * elements);
  widenBlocks(type, packed, values);
  return values;
}

async function written(files: ModelFiles, weights: WrittenTensorType, write = exportGguf) {
  const parts = await Array.fromAsync(write(files, weights));
  const file = new Uint8Array(await new Blob(parts).arrayBuffer());
  const path = await Deno.makeTempFile({ suffix: ".gguf" });
  try {
    await Deno.writeFile(path, file);
    const { metadata, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
    const tensors = new Map(tensorInfos.map((info) => {
      const shape = info.shape.map(Number).toReversed();
      const type = TYPES.get(info.dtype)!;
      const { elements, bytes } = GGUF_TENSOR_TYPES[type];
      const begin = Number(tensorDataOffset + info.offset);
      const length = shape.reduce((a, b) => a * b) / elements * bytes;
      return [info.name, { shape, type, values: () => unpackBlocks(type, file.slice(begin, begin + length)) }];
    }));
    return { metadata: metadata as unknown as Record<string, unknown>, tensors, file };
  } finally {
    await Deno.remove(path);
  }
}

describe("GGUF files", () => {
  it("hold what the checkpoint holds, under llama.cpp's names", async () => {
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const spec = parseModelConfig((await files.text("config.json"))!, files.name);
    const checkpoint = await Checkpoint.open(files);
    const { metadata, tensors } = await written(files, "F16");
    assertEquals(metadata["general.architecture"], "deepseek2");
    assertEquals([metadata["deepseek2.block_count"], metadata["deepseek2.attention.key_length_mla"], metadata["deepseek2.expert_gating_func"]], [
      6,
      48,
      2,
    ]);
    assertEquals(metadata["deepseek2.expert_weights_norm"], true);
    assertEquals((metadata["tokenizer.ggml.tokens"] as string[]).length, spec.vocabSize);
    assertEquals((metadata["tokenizer.ggml.tokens"] as string[])[1], "<|end_of_text|>");

    const stored = (name: string, rows: number, columns: number) =>
      readMatrix(new MatrixSource(checkpoint, name, [rows, columns], { fp8Block: spec.fp8Block }));
    const same = (name: string, shape: readonly number[], values: Float32Array) => {
      const tensor = tensors.get(name)!;
      assertEquals(tensor.shape, shape, name);
      assertEquals(tensor.values(), tensor.type === "F16" ? Float32Array.from(Float16Array.from(values)) : values, name);
    };
    same("token_embd.weight", [8192, 320], await stored("model.embed_tokens.weight", 8192, 320));
    same("blk.0.ffn_down.weight", [320, 896], await stored("model.layers.0.mlp.down_proj.weight", 320, 896));
    same("blk.3.ffn_gate_inp.weight", [8, 320], await stored("model.layers.3.mlp.gate.weight", 8, 320));
    assertEquals(tensors.get("blk.3.ffn_gate_inp.weight")!.type, "F32");
    const experts = await Promise.all(Array.from({ length: 8 }, (_, e) => stored(`model.layers.2.mlp.experts.${e}.up_proj.weight`, 160, 320)));
    same("blk.2.ffn_up_exps.weight", [8, 160, 320], Float32Array.from(experts.flatMap((values) => [...values])));

    // Keys of head 5 are transposed, values are not.
    const both = await stored("model.layers.4.self_attn.kv_b_proj.weight", 8 * 64, 128);
    const [keys, values] = [tensors.get("blk.4.attn_k_b.weight")!, tensors.get("blk.4.attn_v_b.weight")!];
    assertEquals([keys.shape, values.shape], [[8, 128, 32], [8, 32, 128]]);
    const at = (row: number, latent: number) => Float16Array.of(both[row * 128 + latent])[0];
    assertEquals(keys.values()[(5 * 128 + 77) * 32 + 9], at(5 * 64 + 9, 77));
    assertEquals(values.values()[(5 * 32 + 9) * 128 + 77], at(5 * 64 + 32 + 9, 77));
    assert(!tensors.has("output.weight"), "tied to the embedding table");
    assert(![...tensors.keys()].some((name) => name.startsWith("blk.6.")), "what predicts several tokens is left out");
  });

  it("hold the same values where they are written unpacked", async () => {
    using files = new SyntheticFiles("synthetic", { config: configOf("tiny", 2), seed: 1 });
    for (const type of ["Q8_0", "F16"] as const) {
      const { tensors } = await written(files, type);
      const unpacked = await written(files, type, exportUnpacked);
      assertEquals([...unpacked.tensors.keys()], [...tensors.keys()]);
      for (const [name, tensor] of unpacked.tensors) {
        assertEquals(tensor.type, "F32");
        assertEquals(tensor.values(), tensors.get(name)!.values(), name);
      }
    }
  });

  it("are written of models that nobody stored, and refused where GGUF is not told everything", async () => {
    const config = configOf("tiny", 2);
    const { metadata, tensors } = await written(new SyntheticFiles("synthetic", { config, seed: 1 }), "Q4_0");
    assertEquals(metadata["deepseek2.attention.kv_lora_rank"], 32);
    assertEquals(tensors.get("output.weight")!.type, "Q4_0");
    assertEquals(tensors.get("blk.1.attn_k_b.weight")!.type, "F16", "rows of 16 are no whole blocks");
    using scaled = new DirectoryFiles(fixtureDirectory("minicpm3-tiny"));
    await assertRejects(() => Array.fromAsync(exportGguf(scaled, "F16")), LatentmeshError, "scales what it computes with");
  });
});

describe("blocks of GGUF", () => {
  it("are as near as their levels allow", () => {
    const values = fc.array(fc.float({ noNaN: true, min: -100, max: 100 }), { minLength: 32, maxLength: 32 });
    for (const [type, levels] of [["Q8_0", 127], ["Q4_0", 8]] as const) {
      fc.assert(
        fc.property(values, (values) => {
          const given = Float32Array.from(values);
          const largest = Math.max(...given.map(Math.abs));
          const back = unpackBlocks(type, packBlocks(type, given));
          // Half a level, and of q4_0 a whole one on the side that has none for it; scales are halves.
          const most = largest / levels * (type === "Q4_0" ? 1 : 0.5) + largest * 2 ** -10 + 1e-4;
          back.forEach((value, i) => assert(Math.abs(value - given[i]) <= most, `${type}: ${given[i]} became ${value}`));
        }),
        { seed: SEED, numRuns: 200 },
      );
    }
  });

  it("lie as llama.cpp lays them", () => {
    const given = Float32Array.from({ length: 32 }, (_, i) => (i - 16) / 2);
    const four = packBlocks("Q4_0", given);
    // −8 is the largest: a scale of 1; the first byte holds levels of values 0 and 16.
    assertEquals([...four.subarray(0, 4)], [0x00, 0x3c, 0x80, 0x91]);
    const eight = packBlocks("Q8_0", Float32Array.from({ length: 32 }, (_, i) => i === 3 ? -127 : i));
    assertEquals([...eight.subarray(0, 8)], [0x00, 0x3c, 0, 1, 2, 0x81, 4, 5]);
    const random = new Random(SEED).normals(64);
    assertEquals(unpackBlocks("F16", packBlocks("F16", random)), Float32Array.from(Float16Array.from(random)));
    assertEquals(unpackBlocks("F32", packBlocks("F32", random)), random);
  });
});

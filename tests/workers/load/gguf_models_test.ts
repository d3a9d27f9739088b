/**
 * Models in GGUF files of every type, against the same values, as an independent reference has them, in float32: on one rank, and cut in both ways.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { ModelFiles } from "../../../core/model/checkpoint.ts";
import { Random } from "../../../bench/support/random.ts";
import type { GgufTensorSource } from "../../../core/model/gguf/tensor_names.ts";
import { GgufFiles } from "../../../core/model/gguf/gguf_files.ts";
import { GGUF_TENSOR_TYPES, type GgufTensorType, isBlockType } from "../../../core/model/gguf/tensor_types.ts";
import { isHost } from "../../../core/device_kind.ts";
import { relativeError } from "../../support/compare.ts";
import { CUTS, generate, loadRanks, promptOf } from "../../support/cut_models.ts";
import { describeModelsOnDevices, openTestDevice } from "../../support/devices.ts";
import { runSequence } from "../../support/forward.ts";
import { ggufBytesOf, memoryFolder } from "../../support/gguf.ts";
import { packBlocks } from "../../../bench/gguf/pack_blocks.ts";
import { referenceValues } from "../../../bench/gguf/other_blocks.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "../../support/random_checkpoint.ts";
import { memoryFiles } from "../../support/safetensors.ts";

const TOLERANCE = 1e-5;
const TOKENS = 24;

/** Of DeepSeek-V2-Lite's form, with rows of whole blocks of 256. */
const CONFIG = {
  ...ODD_CONFIG,
  hidden_size: 256,
  num_attention_heads: 4,
  kv_lora_rank: 256,
  q_lora_rank: null,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 16,
  v_head_dim: 64,
  intermediate_size: 512,
  moe_intermediate_size: 256,
  num_hidden_layers: 2,
  n_routed_experts: 4,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
};

/** How llama.cpp's usual mixtures and others look: many types, also of gates and what they gate. */
const MIXED: readonly [RegExp, GgufTensorType][] = [
  [/attn_k_b|attn_v_b/, "Q8_0"],
  [/attn_q\./, "Q5_0"],
  [/attn_kv_a/, "Q5_1"],
  [/attn_output/, "Q5_K"],
  [/gate_shexp/, "Q4_1"],
  [/shexp/, "Q8_0"],
  [/down/, "Q6_K"],
  [/token_embd/, "Q6_K"],
  [/^output/, "Q8_0"],
  [/./, "Q4_K"],
];

const types = (Object.keys(GGUF_TENSOR_TYPES) as GgufTensorType[]).filter(isBlockType);

/** A type for each tensor: of this name, or those of {@link MIXED}. */
function typeOf({ name, shape, exact }: GgufTensorSource, which: GgufTensorType | "mixed"): GgufTensorType {
  if (exact) return "F32";
  const type = which === "mixed" ? MIXED.find(([pattern]) => pattern.test(name))![1] : which;
  return shape.at(-1)! % GGUF_TENSOR_TYPES[type].elements === 0 ? type : "F16";
}

interface Pair {
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly unpacked: Uint8Array<ArrayBuffer>;
}

const pairs = new Map<string, Promise<Pair>>();

/** Written once for all devices. */
function pairOf(which: GgufTensorType | "mixed"): Promise<Pair> {
  if (!pairs.has(which)) pairs.set(which, writePair(which));
  return pairs.get(which)!;
}

let checkpoint: Promise<ModelFiles> | null = null;

/** Written once for all types. */
async function randomCheckpoint(): Promise<ModelFiles> {
  const directory = await writeRandomCheckpoint(CONFIG);
  try {
    const files = await Array.fromAsync(Deno.readDir(directory), async ({ name }) => {
      const path = `${directory}/${name}`;
      return [name, name.endsWith(".json") ? await Deno.readTextFile(path) : await Deno.readFile(path)] as const;
    });
    return memoryFiles({ ...Object.fromEntries(files), "tokenizer.json": SMALL_TOKENIZER });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function writePair(which: GgufTensorType | "mixed"): Promise<Pair> {
  const files = await (checkpoint ??= randomCheckpoint());
  /** What the first file has, in order. */
  const parts: Uint8Array<ArrayBuffer>[] = [];
  return {
    packed: await ggufBytesOf(files, "F32", {
      typeOf: (source) => typeOf(source, which),
      pack: (type, values) => {
        parts.push(packBlocks(type, values));
        return parts.at(-1)!;
      },
    }),
    unpacked: await ggufBytesOf(files, "F32", {
      typeOf: () => "F32",
      pack: (_, values, source) => {
        const type = typeOf(source, which);
        const packed = parts.shift()!;
        assertEquals(packed.byteLength, GGUF_TENSOR_TYPES[type].bytes * values.length / GGUF_TENSOR_TYPES[type].elements);
        if (type === "F32") return packed;
        const back = isBlockType(type) ? referenceValues(type, packed) : new Float16Array(packed.buffer);
        return new Uint8Array(Float32Array.from(back).buffer);
      },
    }),
  };
}

const SMALL_TOKENIZER = JSON.stringify({ model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] } });

const open = (bytes: Uint8Array<ArrayBuffer>) => new GgufFiles(memoryFolder({ "m.gguf": bytes }), "m.gguf");

describeModelsOnDevices("models in GGUF files", (kind) => {
  // Elsewhere that takes long; kernels are tested with every form by themselves.
  for (const which of kind === "wasm" ? [...types, "mixed"] as const : ["mixed"] as const) {
    it(`give the logits of the same values in float32, and stay packed: ${which}`, async () => {
      const { packed, unpacked } = await pairOf(which);
      const device = await openTestDevice(kind);
      try {
        const [actual, expected] = [await loadRanks(device, open(packed), null), await loadRanks(device, open(unpacked), null)];
        const random = new Random();
        const tokens = Array.from({ length: TOKENS }, () => random.below(CONFIG.vocab_size));
        for (const [phase, chunk] of [["prefill", 10], ["decode", 3]] as const) {
          const [a, b] = [await runSequence(actual.ranks[0], tokens, phase, chunk), await runSequence(expected.ranks[0], tokens, phase, chunk)];
          const error = relativeError(a.logits, b.logits);
          if (Deno.env.has("TEST_VERBOSE")) console.error(kind, which, phase, error);
          assert(error <= TOLERANCE, `${phase}: ${error}`);
        }
        assert(actual.bytes < 0.5 * expected.bytes, `${actual.bytes} of ${expected.bytes} bytes`);
      } finally {
        await device.close();
      }
    });
  }

  describe("cut over ranks, give the same logits and greedy tokens", () => {
    for (const [name, cut] of Object.entries(CUTS)) {
      if (!isHost(kind) && name.startsWith("mla")) continue;
      it(name, async () => {
        const { packed, unpacked } = await pairOf("mixed");
        const device = await openTestDevice(kind);
        try {
          const { ranks } = await loadRanks(device, open(packed), cut);
          const prompt = promptOf(ranks[0].spec);
          const actual = await generate(ranks, prompt);
          const expected = await generate((await loadRanks(device, open(unpacked), cut)).ranks, prompt);
          assertEquals(actual.tokens, expected.tokens);
          const error = relativeError(actual.logits, expected.logits);
          assert(error <= TOLERANCE, `${error}`);
        } finally {
          await device.close();
        }
      });
    }
  });
});

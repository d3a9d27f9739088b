/**
 * Checkpoints in four bits, in every form in which they are published, and the same weights unpacked.
 *
 * @module
 */
import { Checkpoint, type ModelFiles, readRange } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { MatrixSource, readMatrix } from "../../core/model/matrix_source.ts";
import type { SafetensorsDtype } from "../../core/model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../core/model/safetensors_writer.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { fixtureDirectory } from "./checkpoints.ts";
import { awq, compressedTensors, type FourBitOptions, type FourBits, fromFourBits, gptq, toFourBits } from "./int4_writers.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "./random_checkpoint.ts";
import { memoryFiles } from "./safetensors.ts";

/** A form, as some checkpoints are published in it. */
export interface Int4Form {
  readonly options: FourBitOptions;
  /** Which matrices are quantised. */
  readonly targets: RegExp;
  readonly quantization: object;
  write(name: string, bits: FourBits): TensorData[];
}

const ALL = /_proj(_with_mqa)?$/;
/** Of any number of rows, which the others cannot pack. */
const ALL_AND_HEAD = /(_proj(_with_mqa)?|lm_head)$/;

function compressedForm(options: FourBitOptions, targets = ALL_AND_HEAD): Int4Form {
  const { group, symmetric } = options;
  const weights = { num_bits: 4, type: "int", strategy: "group", group_size: group, symmetric, actorder: null, dynamic: false };
  return {
    options,
    targets,
    quantization: { quant_method: "compressed-tensors", format: "pack-quantized", config_groups: { group_0: { targets: ["Linear"], weights } } },
    write: (name, bits) => compressedTensors(name, bits, { symmetric }),
  };
}

const ZEROS: FourBitOptions = { group: 128, scaleType: "F16", symmetric: false };

/** By who publishes so. */
export const INT4_FORMS = {
  "compressed-tensors, experts in groups of 32, as Kimi-K2.5": compressedForm(
    { group: 32, scaleType: "BF16", symmetric: true },
    /\.experts\.\d+\.\w+_proj$/,
  ),
  "compressed-tensors, groups of 128": compressedForm({ group: 128, scaleType: "F16", symmetric: true }),
  "compressed-tensors, groups of 32 with zero points": compressedForm({ group: 32, scaleType: "BF16", symmetric: false }),
  "AWQ, groups of 128": {
    options: ZEROS,
    // What has sizes of other widths is usually left out.
    targets: /(?<!kv_a_proj_with_mqa)$(?<=_proj)/,
    quantization: {
      quant_method: "awq",
      bits: 4,
      group_size: 128,
      zero_point: true,
      version: "gemm",
      modules_to_not_convert: ["kv_a_proj_with_mqa"],
    },
    write: awq,
  },
  "GPTQ, groups of 128": {
    options: { ...ZEROS, symmetric: true },
    targets: ALL,
    quantization: { quant_method: "gptq", bits: 4, group_size: 128, desc_act: false, sym: true },
    write: (name, bits) => gptq(name, bits, { version: 1 }),
  },
  "GPTQ v2 with zero points": {
    options: ZEROS,
    targets: ALL,
    quantization: { quant_method: "gptq", bits: 4, group_size: 128, desc_act: false, sym: false, checkpoint_format: "gptq_v2" },
    write: (name, bits) => gptq(name, bits, { version: 2 }),
  },
} as const satisfies Record<string, Int4Form>;

/** A model in four bits, and unpacked. */
export interface Int4Pair {
  readonly packed: ModelFiles;
  readonly unpacked: ModelFiles;
}

/** Of DeepSeek-V2-Lite's proportions: no compression of queries, one dense layer, two shared experts. */
const V2_LITE_SHAPED = {
  ...ODD_CONFIG,
  hidden_size: 256,
  num_attention_heads: 4,
  kv_lora_rank: 128,
  q_lora_rank: null,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 16,
  v_head_dim: 64,
  intermediate_size: 640,
  moe_intermediate_size: 128,
  n_routed_experts: 8,
  n_shared_experts: 2,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
};

/** Models that are written in four bits. */
export type Int4Model = "tiny-mla" | "V2-Lite shaped";

/** Writes a model in one of the {@link INT4_FORMS}. */
export async function int4Pair(model: Int4Model, { options, targets, quantization, write }: Int4Form): Promise<Int4Pair> {
  const directory = model === "tiny-mla" ? fixtureDirectory(model) : await writeRandomCheckpoint(V2_LITE_SHAPED);
  try {
    using files = new DirectoryFiles(directory);
    const stored = await Checkpoint.open(files);
    const config = JSON.parse((await files.text("config.json"))!);
    const { fp8Block } = parseModelConfig(JSON.stringify(config), model);
    const [packed, unpacked]: TensorData[][] = [[], []];
    for (const name of stored.names()) {
      // Scales of FP8 go with what they scale.
      if (name.endsWith("_scale_inv")) continue;
      const { shape, dtype } = stored.info(name);
      const base = name.replace(/\.weight$/, "");
      if (dtype !== "F8_E4M3" && !targets.test(base)) {
        const kept = { name, dtype: dtype as SafetensorsDtype, shape, bytes: await readRange(stored.range(name)) };
        packed.push(kept);
        unpacked.push(kept);
        continue;
      }
      const sizes = [shape[0], shape[1]] as const;
      const values = await readMatrix(new MatrixSource(stored, name, sizes, { fp8Block }));
      const wide = (values: Float32Array<ArrayBuffer>): TensorData => ({ name, dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
      if (!targets.test(base)) {
        packed.push(wide(values));
        unpacked.push(wide(values));
        continue;
      }
      const bits = toFourBits(values, sizes, options);
      packed.push(...write(base, bits));
      unpacked.push(wide(fromFourBits(bits)));
    }
    const filesOf = (tensors: TensorData[], quantization_config?: object) =>
      memoryFiles({ "config.json": JSON.stringify({ ...config, quantization_config }), "model.safetensors": writeSafetensors(tensors) });
    return { packed: filesOf(packed, quantization), unpacked: filesOf(unpacked) };
  } finally {
    if (model !== "tiny-mla") await Deno.remove(directory, { recursive: true });
  }
}

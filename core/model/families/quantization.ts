/**
 * How the weights of a checkpoint are quantised, as `quantization_config` says it.
 *
 * @module
 */
import { z } from "zod";
import type { Fp8Block } from "../fp8_scales.ts";
import type { Int4Spec } from "../int4/int4_spec.ts";
import { compressedTensors } from "./compressed_tensors.ts";
import { FieldError, requireField, size } from "./field_checks.ts";

/** zod shape of `quantization_config`. */
export const quantizationField = z.looseObject({ quant_method: z.string(), fmt: z.string().nullish() }).nullish();

type Quantization = NonNullable<z.infer<typeof quantizationField>>;

const FIELD = "quantization_config";

/** Methods that are known and not supported: what they make of weights. */
const REFUSED: Readonly<Record<string, string>> = {
  mxfp4: "floats of 4 bits with shared exponents",
  modelopt: "NVIDIA's formats, such as NVFP4",
  nvfp4: "floats of 4 bits with scales in FP8",
  bitsandbytes: "tables of 4 bits, or int8",
  hqq: "formats of HQQ",
  quark: "formats of Quark",
  torchao: "formats of TorchAO",
};

/** How quantised weights are stored; null where they are not. @throws {FieldError} for what is not supported */
export function formatsOf(quantization: z.infer<typeof quantizationField>): { readonly fp8Block: Fp8Block | null; readonly int4: Int4Spec | null } {
  if (quantization == null) return { fp8Block: null, int4: null };
  const { quant_method: method } = quantization;
  switch (method) {
    case "fp8":
      return { fp8Block: ofFp8(quantization), int4: null };
    case "compressed-tensors":
      return compressedTensors(quantization, FIELD);
    case "awq":
      return { fp8Block: null, int4: ofAwq(quantization) };
    case "gptq":
      return { fp8Block: null, int4: ofGptq(quantization) };
    case "auto-round":
      return { fp8Block: null, int4: ofAutoRound(quantization) };
    default: {
      const what = Object.hasOwn(REFUSED, method) ? ` (${REFUSED[method]})` : "";
      const supported = ["fp8", "compressed-tensors", "awq", "gptq", "auto-round"].map((name) => `"${name}"`).join(", ");
      throw new FieldError(`${FIELD}.quant_method`, `is "${method.slice(0, 64)}"${what}; supported are ${supported}`);
    }
  }
}

/** transformers' own: scales of blocks, or with `weight_block_size: null` of whole tensors. */
function ofFp8({ fmt, weight_block_size: block }: Quantization): Fp8Block {
  const format = fmt ?? "e4m3";
  requireField(format === "e4m3", `${FIELD}.fmt`, `is "${format}"; only "e4m3" is supported`);
  if (block === null) return "tensor";
  const { data } = z.tuple([size(2 ** 16), size(2 ** 16)]).safeParse(block);
  if (data === undefined) throw new FieldError(`${FIELD}.weight_block_size`, "must be [rows, columns] of one scale block, or null");
  return data;
}

/** What older formats say of themselves. */
const inputMajorSchema = z.object({
  bits: z.number(),
  group_size: z.union([size(2 ** 20), z.literal(-1)]),
  version: z.string().nullish(),
  zero_point: z.boolean().nullish(),
  checkpoint_format: z.string().nullish(),
  format: z.string().nullish(),
  desc_act: z.boolean().nullish(),
  static_groups: z.boolean().nullish(),
  packing_format: z.string().nullish(),
  data_type: z.string().nullish(),
});

function inputMajorFields(quantization: Quantization): Omit<z.infer<typeof inputMajorSchema>, "group_size"> & { readonly group: number | null } {
  const parsed = inputMajorSchema.safeParse(quantization);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new FieldError([FIELD, ...path].join("."), `is not usable: ${message}`);
  }
  const { group_size: group, ...fields } = parsed.data;
  requireField(fields.bits === 4, `${FIELD}.bits`, `is ${fields.bits}; of "${quantization.quant_method}", only 4 is supported`);
  return { ...fields, group: group === -1 ? null : group };
}

function ofAwq(quantization: Quantization): Int4Spec {
  const { group, version, checkpoint_format: ofFile, format, zero_point: zeros } = inputMajorFields(quantization);
  const layout = (version ?? ofFile ?? format ?? "gemm").toLowerCase();
  requireField(layout === "gemm", `${FIELD}.version`, `is "${layout}"; only "gemm" is supported, whose words have eight outputs`);
  requireField(zeros !== false, `${FIELD}.zero_point`, "is false; only weights with zero points are supported");
  return { kind: "awq", group };
}

const ZERO_OFFSETS: Readonly<Record<string, 0 | 1>> = { gptq: 1, gptq_v2: 0 };

function ofGptq(quantization: Quantization): Int4Spec {
  const { group, checkpoint_format: ofFile, format, desc_act: reordered, static_groups: inPlace } = inputMajorFields(quantization);
  const layout = ofFile ?? format ?? "gptq";
  requireField(
    Object.hasOwn(ZERO_OFFSETS, layout),
    `${FIELD}.checkpoint_format`,
    `is "${layout}"; supported are ${Object.keys(ZERO_OFFSETS).map((name) => `"${name}"`).join(" and ")}`,
  );
  // With static groups the order is that of quantising alone.
  return {
    kind: "gptq",
    group,
    zeroOffset: ZERO_OFFSETS[layout],
    ...(reordered === true && inPlace !== true && group !== null ? { reordered } : {}),
  };
}

/** AutoRound packs as either of the others does. */
function ofAutoRound(quantization: Quantization): Int4Spec {
  const { group, packing_format: format, data_type: type } = inputMajorFields(quantization);
  requireField((type ?? "int") === "int", `${FIELD}.data_type`, `is "${type}"; of "auto-round", only "int" is supported`);
  switch (format) {
    case "auto_round:auto_gptq":
      return { kind: "gptq", group, zeroOffset: ZERO_OFFSETS.gptq };
    case "auto_round:auto_awq":
      return { kind: "awq", group };
    default:
      throw new FieldError(`${FIELD}.packing_format`, `is "${format}"; supported are "auto_round:auto_gptq" and "auto_round:auto_awq"`);
  }
}

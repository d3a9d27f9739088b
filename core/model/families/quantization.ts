/**
 * How the weights of a checkpoint are quantised, as `quantization_config` says it.
 *
 * @module
 */
import { z } from "zod";
import type { Fp8Block } from "../fp8_scales.ts";
import { FieldError, requireField, size } from "./field_checks.ts";

/** zod shape of `quantization_config`. */
export const quantizationField = z.looseObject({ quant_method: z.string(), fmt: z.string().nullish() }).nullish();

const blockSchema = z.tuple([size(2 ** 16), size(2 ** 16)]);

/** What of the weights in a group of compressed-tensors is looked at. */
const groupsSchema = z.record(
  z.string(),
  z.looseObject({
    weights: z.looseObject({
      num_bits: z.number(),
      type: z.string(),
      strategy: z.string().nullish(),
      symmetric: z.boolean().nullish(),
      block_structure: blockSchema.nullish(),
    }),
  }),
);

/** What shares a scale of FP8 weights; null where weights are not quantised. @throws {FieldError} for anything else */
export function fp8BlockOf(quantization: z.infer<typeof quantizationField>): Fp8Block | null {
  if (quantization == null) return null;
  switch (quantization.quant_method) {
    case "fp8":
      return ofFp8(quantization);
    case "compressed-tensors":
      return ofCompressedTensors(quantization.config_groups);
    default:
      throw new FieldError(
        "quantization_config.quant_method",
        `is "${quantization.quant_method}"; only "fp8" and "compressed-tensors" are supported`,
      );
  }
}

/** transformers' own: scales of blocks, or with `weight_block_size: null` of whole tensors. */
function ofFp8({ fmt, weight_block_size: block }: NonNullable<z.infer<typeof quantizationField>>): Fp8Block {
  const format = fmt ?? "e4m3";
  requireField(format === "e4m3", "quantization_config.fmt", `is "${format}"; only "e4m3" is supported`);
  if (block === null) return "tensor";
  const { data } = blockSchema.safeParse(block);
  if (data === undefined) throw new FieldError("quantization_config.weight_block_size", "must be [rows, columns] of one scale block, or null");
  return data;
}

function ofCompressedTensors(configGroups: unknown): Fp8Block {
  const field = "quantization_config.config_groups";
  const groups = groupsSchema.safeParse(configGroups);
  if (!groups.success || Object.keys(groups.data).length === 0) throw new FieldError(field, "must say how the weights of each group are stored");
  const blocks = Object.entries(groups.data).map(([name, { weights }]): Fp8Block => {
    const { num_bits: bits, type, strategy, symmetric, block_structure: block } = weights;
    requireField(
      bits === 8 && type === "float" && symmetric !== false,
      `${field}.${name}.weights`,
      `are ${symmetric === false ? "asymmetric " : ""}${type} of ${bits} bits; of compressed-tensors, only symmetric float of 8 bits is supported`,
    );
    if (strategy === "tensor" || strategy === "channel") return strategy;
    if (strategy === "block" && block != null) return block;
    throw new FieldError(
      `${field}.${name}.weights.strategy`,
      `is "${strategy}"; "tensor", "channel", and "block" with its block_structure are supported`,
    );
  });
  requireField(new Set(blocks.map(String)).size === 1, field, "have scales of different kinds, which is not supported");
  return blocks[0];
}

/**
 * What `quantization_config` of compressed-tensors says of weights: FP8, and four bits packed into words.
 *
 * @module
 */
import { z } from "zod";
import type { Fp8Block } from "../fp8_scales.ts";
import type { Int4Spec } from "../int4/int4_spec.ts";
import { FieldError, requireField, size } from "./field_checks.ts";

/** What of the weights in a group is looked at. Which modules it is for is not: the tensors themselves tell how they are stored. */
const weightsSchema = z.looseObject({
  num_bits: z.number(),
  type: z.string(),
  strategy: z.string().nullish(),
  symmetric: z.boolean().nullish(),
  block_structure: z.tuple([size(2 ** 16), size(2 ** 16)]).nullish(),
  group_size: z.union([size(2 ** 20), z.literal(-1)]).nullish(),
  actorder: z.union([z.string(), z.boolean()]).nullish(),
});

const groupsSchema = z.record(z.string(), z.looseObject({ weights: weightsSchema.nullish(), format: z.string().nullish() }));

const wholeSchema = z.looseObject({
  config_groups: groupsSchema,
  format: z.string().nullish(),
  sparsity_config: z.looseObject({ format: z.string().nullish() }).nullish(),
  transform_config: z.looseObject({ config_groups: z.record(z.string(), z.unknown()).nullish() }).nullish(),
});

type Weights = z.infer<typeof weightsSchema>;

/** Several scales in words of 32 bits. */
const PACKED = "pack-quantized";

/** What has four bits, of which there may be several kinds. */
interface Int4Group {
  readonly group: number | null;
  readonly symmetric: boolean;
  readonly reordered: boolean;
}

/** @param field where all of it is, as errors name it @throws {FieldError} for what is not supported */
export function compressedTensors(
  quantization: Readonly<Record<string, unknown>>,
  field: string,
): { readonly fp8Block: Fp8Block | null; readonly int4: Int4Spec | null } {
  const where = `${field}.config_groups`;
  const parsed = wholeSchema.safeParse(quantization);
  const wrong = parsed.error?.issues[0].path[0] ?? "config_groups";
  if (wrong !== "config_groups") throw new FieldError(`${field}.${String(wrong)}`, `is not usable: ${parsed.error!.issues[0].message}`);
  const { config_groups: all = {}, format, sparsity_config: sparsity, transform_config: transforms } = parsed.data ?? {};
  // Zeros that are left out would be missing in the middle of rows.
  const sparse = sparsity?.format ?? "dense";
  requireField(sparse === "dense", `${field}.sparsity_config.format`, `is "${sparse}"; sparse weights are not supported`);
  // Rotations of SpinQuant and QuIP: some are in the weights, of others only the inverse, and what goes into them must be rotated, too.
  const [transform] = Object.keys(transforms?.config_groups ?? {});
  requireField(
    transform === undefined,
    `${field}.transform_config.config_groups`,
    `names "${transform}"; transforms of activations are not supported`,
  );
  const groups = Object.entries(all).filter(([, { weights }]) => weights != null);
  if (groups.length === 0) throw new FieldError(where, "must say how the weights of each group are stored");
  const fp8: Fp8Block[] = [];
  const int4: Int4Group[] = [];
  for (const [name, { weights, format: own }] of groups) {
    const { num_bits: bits, type, symmetric } = weights!;
    const path = `${where}.${name}.weights`;
    if (bits === 8 && type === "float" && symmetric !== false) fp8.push(blockOf(weights!, path));
    else if (bits === 4 && type === "int") {
      const stored = own ?? format;
      requireField(
        stored === PACKED,
        own == null ? `${field}.format` : `${where}.${name}.format`,
        `is "${stored}"; int of 4 bits must be "${PACKED}"`,
      );
      int4.push(int4Of(weights!, path));
    } else {
      const what = `${symmetric === false ? "asymmetric " : ""}${type} of ${bits} bits`;
      throw new FieldError(path, `are ${what}; of compressed-tensors, only int of 4 bits and symmetric float of 8 bits are supported`);
    }
  }
  requireField(new Set(fp8.map(String)).size <= 1, where, "have scales of different kinds, which is not supported");
  return { fp8Block: fp8[0] ?? null, int4: int4.length === 0 ? null : joined(int4) };
}

function blockOf({ strategy, block_structure: block }: Weights, path: string): Fp8Block {
  if (strategy === "tensor" || strategy === "channel") return strategy;
  if (strategy === "block" && block != null) return block;
  throw new FieldError(`${path}.strategy`, `is "${strategy}"; "tensor", "channel", and "block" with its block_structure are supported`);
}

function int4Of({ strategy, group_size: size, symmetric, actorder }: Weights, path: string): Int4Group {
  // "weight", or "static", is about how weights were chosen alone; with the others, inputs share scales in the order of their activations.
  const orders = ["weight", "static", "group", "dynamic"];
  requireField(
    actorder == null || typeof actorder === "boolean" || orders.includes(actorder),
    `${path}.actorder`,
    `is "${actorder}"; supported are ${orders.map((order) => `"${order}"`).join(", ")}`,
  );
  const reordered = actorder === true || actorder === "group" || actorder === "dynamic";
  const kind = strategy ?? (size == null ? "tensor" : size === -1 ? "channel" : "group");
  requireField(kind === "group" || kind === "channel", `${path}.strategy`, `is "${kind}"; of int of 4 bits, "group" and "channel" are supported`);
  if (kind === "channel") return { group: null, symmetric: symmetric !== false, reordered: false };
  if (size == null || size === -1) throw new FieldError(`${path}.group_size`, "is missing; it says how many columns share a scale");
  return { group: size, symmetric: symmetric !== false, reordered };
}

function joined(groups: readonly Int4Group[]): Int4Spec {
  const symmetric = new Set(groups.map(({ symmetric }) => symmetric));
  return {
    kind: "compressed-tensors",
    groups: [...new Set(groups.map(({ group }) => group))],
    ...(groups.some(({ reordered }) => reordered) ? { reordered: true } : {}),
    zeros: symmetric.size === 2 ? "some" : symmetric.has(true) ? "none" : "all",
  };
}

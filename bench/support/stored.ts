/**
 * Storage formats by the names that benches take.
 *
 * @module
 */
import { type MatrixLayout, matrixLayout, type WeightFormat } from "../../core/model/packing.ts";

/** Columns that share a scale in fp8 checkpoints. */
const FP8_GROUP = 128;

/** Formats of four bits as they are published: by Kimi-K2.5; by GPTQ and AWQ, and others with their groups. */
const INT4 = {
  int4: [32, "bf16"],
  "int4-128": [128, "bf16"],
  "int4-128-zeros": [128, "f16-zero"],
} as const;

const PLAIN: readonly WeightFormat[] = ["f32", "f16", "bf16", "fp8", "q8", "q4"];

/** How weights may be stored, in benches. */
export type StoredName = Exclude<WeightFormat, "int4" | "int8"> | keyof typeof INT4;

/** Names of some formats, with commas between them. @throws {Error} that lists what there is */
export function storedNames(text: string): StoredName[] {
  const known = [...PLAIN, ...Object.keys(INT4)];
  return text.split(",").map((name) => {
    if (!known.includes(name)) throw new Error(`--weights: "${name}" is none of ${known.join(", ")}`);
    return name as StoredName;
  });
}

/** The layout of a matrix with so many columns. */
export function storedLayout(name: StoredName, columns: number): MatrixLayout {
  if (!(name in INT4)) return matrixLayout(name as WeightFormat, columns, FP8_GROUP);
  const [group, scaling] = INT4[name as keyof typeof INT4];
  return matrixLayout("int4", columns, group, scaling);
}

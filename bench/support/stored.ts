/**
 * Storage formats by the names that benches take.
 *
 * @module
 */
import { type MatrixLayout, matrixLayout, type WeightFormat } from "../../core/model/packing.ts";

/** Columns that share a scale in fp8 checkpoints. */
const FP8_GROUP = 128;

/** Levels as they are published: by Kimi-K2.5; by GPTQ and AWQ, and others with their groups; in GGUF files (core/model/gguf/level_rows.ts). */
const LEVELS = {
  int4: ["int4", 32, "bf16"],
  "int4-128": ["int4", 128, "bf16"],
  "int4-128-zeros": ["int4", 128, "f16-zero"],
  q4_0: ["int4", 32, "f16"],
  q4_k: ["int4", 32, "f32-zero"],
  q6_k: ["int8", 16, "f32"],
  q8_0: ["int8", 32, "f16"],
} as const;

const PLAIN: readonly WeightFormat[] = ["f32", "f16", "bf16", "fp8", "q8", "q4"];

/** How weights may be stored, in benches. */
export type StoredName = Exclude<WeightFormat, "int4" | "int8"> | keyof typeof LEVELS;

/** Names of some formats, with commas between them. @throws {Error} that lists what there is */
export function storedNames(text: string): StoredName[] {
  const known = [...PLAIN, ...Object.keys(LEVELS)];
  return text.split(",").map((name) => {
    if (!known.includes(name)) throw new Error(`--weights: "${name}" is none of ${known.join(", ")}`);
    return name as StoredName;
  });
}

/** The layout of a matrix with so many columns. */
export function storedLayout(name: StoredName, columns: number): MatrixLayout {
  if (!(name in LEVELS)) return matrixLayout(name as WeightFormat, columns, FP8_GROUP);
  const [format, group, scaling] = LEVELS[name as keyof typeof LEVELS];
  return matrixLayout(format, columns, group, scaling);
}

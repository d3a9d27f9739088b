/**
 * WGSL that widens weights of every storage format. Rows are read in vectors of 16 bytes, of {@link quadsPerVector} times four weights. The sources read
 * the bindings `weights: array<vec4<u32>>` and `scales: array<u32>`, which the including kernel declares, and define
 *
 * - `widen(words, quad, zero) -> vec4<f32>`: four of a vector's weights, without their scale,
 * - `scale_word(row, column) -> ScaleWord`, which reads, and `scale_from(word, column) -> f32` and `zero_from(word) -> f32`, which need it, for those who read ahead,
 * - `widen_at(words, quad, row, column) -> vec4<f32>`: all of that,
 * - `weight4(row, k4) -> vec4<f32>`: weights 4·k4 … 4·k4 + 3 of a row, for kernels that need no more at a time.
 *
 * @module
 */
import { bitsPerWeight, type MatrixLayout, type Scaling, type WeightFormat } from "../../../core/model/packing.ts";
import { constants } from "../contract.ts";
import bf16 from "./bf16.wgsl" with { type: "text" };
import f16 from "./f16.wgsl" with { type: "text" };
import f32 from "./f32.wgsl" with { type: "text" };
import fp8 from "./fp8.wgsl" with { type: "text" };
import q4 from "./q4.wgsl" with { type: "text" };
import q4Zero from "./q4_zero.wgsl" with { type: "text" };
import q8 from "./q8.wgsl" with { type: "text" };
import q8Zero from "./q8_zero.wgsl" with { type: "text" };
import scaleBf16 from "./scale_bf16.wgsl" with { type: "text" };
import scaleBf16Zero from "./scale_bf16_zero.wgsl" with { type: "text" };
import scaleF16 from "./scale_f16.wgsl" with { type: "text" };
import scaleF16Zero from "./scale_f16_zero.wgsl" with { type: "text" };
import scaleF32 from "./scale_f32.wgsl" with { type: "text" };
import scaleF32Zero from "./scale_f32_zero.wgsl" with { type: "text" };
import scaleNone from "./scale_none.wgsl" with { type: "text" };
import weight4 from "./weight4.wgsl" with { type: "text" };
import zeroEight from "./zero_eight.wgsl" with { type: "text" };
import zeroFloat from "./zero_float.wgsl" with { type: "text" };
import zeroStored from "./zero_stored.wgsl" with { type: "text" };

const SOURCES: Readonly<Record<WeightFormat, string>> = {
  f32,
  f16,
  bf16,
  fp8,
  q8,
  q4,
  int4: q4,
  int8: q8,
};

/** The same of formats whose zero points are no integers. */
const WITH_FLOAT_ZEROS: Partial<Record<WeightFormat, string>> = { int4: q4Zero, int8: q8Zero };

const SCALES: Readonly<Record<Scaling, string>> = {
  none: scaleNone + zeroEight,
  f32: scaleF32 + zeroEight,
  f16: scaleF16 + zeroEight,
  bf16: scaleBf16 + zeroEight,
  "f16-zero": scaleF16Zero + zeroStored,
  "bf16-zero": scaleBf16Zero + zeroStored,
  "f32-zero": scaleF32Zero + zeroFloat,
};

/** Fours of weights in 16 bytes. */
export function quadsPerVector(format: WeightFormat): number {
  return 32 / bitsPerWeight(format);
}

/** The functions above and their constants for one layout. */
export function weightFormatWgsl(layout: MatrixLayout): string {
  const { format, scaling } = layout;
  const floats = scaling === "f32-zero";
  return constants({
    COLUMNS: layout.columns,
    QUADS: quadsPerVector(format),
    ROW_VECTORS: layout.rowBytes / 16,
    SCALE_ROW_WORDS: layout.scaleRowBytes / 4,
    GROUP: layout.group,
  }) + `alias ScaleWord = ${floats ? "vec2<u32>" : "u32"};\n` + (floats ? WITH_FLOAT_ZEROS : SOURCES)[format] + SCALES[scaling] + weight4;
}

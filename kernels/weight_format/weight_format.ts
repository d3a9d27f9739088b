/**
 * WGSL that widens four consecutive weights of a row, for every storage format: `weight4(row, k4) -> vec4<f32>`. It reads the bindings `weights` and
 * `scales`, both `array<u32>`, which the including kernel declares.
 *
 * @module
 */
import type { MatrixLayout, WeightFormat } from "../../core/model/packing.ts";
import { constants } from "../contract.ts";
import bf16 from "./bf16.wgsl" with { type: "text" };
import f16 from "./f16.wgsl" with { type: "text" };
import f32 from "./f32.wgsl" with { type: "text" };
import fp8 from "./fp8.wgsl" with { type: "text" };
import q4 from "./q4.wgsl" with { type: "text" };
import q8 from "./q8.wgsl" with { type: "text" };

const SOURCES: Readonly<Record<WeightFormat, string>> = { f32, f16, bf16, fp8, q8, q4 };

/** `weight4` and its constants for one layout. */
export function weightFormatWgsl(layout: MatrixLayout): string {
  return constants({
    COLUMNS: layout.columns,
    ROW_WORDS: layout.rowBytes / 4,
    SCALE_ROW_WORDS: layout.scaleRowBytes / 4,
    GROUP: layout.group,
  }) + SOURCES[layout.format];
}

/**
 * WGSL that makes f16 of stored weights for matrix units, eight at a time. It follows `weightFormatWgsl` of the same layout and `halves.wgsl`, and defines
 *
 * - `weight_octet(words, at, zero, scale) -> vec4<u32>`: weights 8·at … 8·at + 7 of a vector, times their scale, in the order of the layout,
 * - `input_octet(halves) -> vec4<u32>`: eight inputs in f16, in that order.
 *
 * Widened in f32 and rounded, a weight takes some six instructions, four of them of a kind that NVIDIA's processors do half as many of: layers of several rows were
 * bound by them, not by reading. Two numbers that lie half a word apart in what is stored are made f16 together, where they lie; so octets are in that order.
 *
 * @module
 */
import type { MatrixLayout, Scaling, WeightFormat } from "../../../core/model/packing.ts";
import bytes from "./octets_bytes.wgsl" with { type: "text" };
import fp8 from "./octets_fp8.wgsl" with { type: "text" };
import inBytes from "./octets_in_bytes.wgsl" with { type: "text" };
import nibbles from "./octets_nibbles.wgsl" with { type: "text" };
import scaled from "./octets_scaled.wgsl" with { type: "text" };
import scaledExact from "./octets_scaled_exact.wgsl" with { type: "text" };
import widened from "./octets_widened.wgsl" with { type: "text" };

const SOURCES: Partial<Record<WeightFormat, string>> = {
  q4: nibbles,
  int4: nibbles,
  q8: inBytes + bytes,
  int8: inBytes + bytes,
  fp8: inBytes + fp8,
};

/** Scales of no more bits than f16 has, which stand in it as they are. */
const EXACT: readonly Scaling[] = ["f16", "bf16", "f16-zero", "bf16-zero"];

/**
 * The functions above for one layout.
 *
 * @param widens scalings whose weights are widened in f32 nevertheless
 */
export function octetsWgsl({ format, scaling }: MatrixLayout, widens: readonly Scaling[] = []): string {
  const source = widens.includes(scaling) ? undefined : SOURCES[format];
  // A zero point that is no integer is less exact in f16.
  if (source === undefined || scaling === "f32-zero") return widened;
  return (EXACT.includes(scaling) ? scaledExact : scaled) + source;
}

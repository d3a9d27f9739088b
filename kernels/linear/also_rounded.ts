/**
 * Norms whose rows are also wanted in f16, as matrix units take them: who writes a row rounds it at once, instead of a dispatch that does it once more.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import type { HostBuffer, Kernel } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { MOST_F16 } from "./round_input.ts";
import put from "../rms_norm/put.wgsl" with { type: "text" };
import putRounded from "../rms_norm/put_rounded.wgsl" with { type: "text" };
import { valuesPerRead } from "../rms_norm/rms_norm.ts";

/** The same norm with `rounded`: y in f16; what f16 cannot hold becomes the largest that it can. Rows are whole vectors of four. */
export function alsoRounded<C extends { readonly width: number }, B extends string, P extends string>(
  norm: Kernel<C, B | "y", P>,
): Kernel<C, B | "y" | "rounded", P> {
  const bindings: Kernel<C, B | "y" | "rounded", P>["bindings"] = { ...norm.bindings, rounded: "read_write" };
  const declared = `@group(0) @binding(${Object.keys(bindings).length}) var<storage, read_write> rounded: array<vec2<u32>>;\n`;
  return {
    ...norm,
    bindings,
    wgsl(config) {
      invariant(valuesPerRead(config.width) === 4, `rows of ${config.width} values are rounded by themselves`);
      return norm.wgsl(config).replace(put, halves + declared + putRounded);
    },
    sizes(config, params) {
      const sizes = norm.sizes(config, params);
      return { ...sizes, rounded: sizes.y / 2 };
    },
    reference(config, buffers, params) {
      norm.reference(config, buffers, params);
      roundAll(buffers, norm.sizes(config, params).y / 4);
    },
    wasm(config) {
      const program = norm.wasm?.(config) ?? null;
      if (program === null) return null;
      return (binding) => {
        const run = program(binding);
        return (params) => {
          run(params);
          roundAll(binding.views, norm.sizes(config, params).y / 4);
        };
      };
    },
  };
}

function roundAll({ y, rounded }: Readonly<Record<"y" | "rounded", HostBuffer>>, values: number): void {
  for (let i = 0; i < values; i++) rounded.f16[i] = Math.max(-MOST_F16, Math.min(MOST_F16, y.f32[i]));
}

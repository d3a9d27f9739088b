/**
 * A linear layer that normalises its input row itself: each workgroup does, while its first weights are on their way, which takes less time than waiting for a
 * kernel that does it for all of them.
 *
 * @module
 */
import type { HostBuffer, Kernel } from "../authoring/contract.ts";
import { normaliseRows } from "../rms_norm/wasm.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { inverseRmsBytes, NORM_THREADS, rmsNorm, rowWgsl } from "../rms_norm/rms_norm.ts";
import { fill, sectionsOf } from "../authoring/sections.ts";
import keptF16 from "./kept_f16.wgsl" with { type: "text" };
import keptF32 from "./kept_f32.wgsl" with { type: "text" };
import { LINEAR_BINDINGS, LINEAR_PARAMS, type LinearBindings, type LinearParams, readsVectors } from "./linear.ts";
import { matvec, type MatvecConfig, matvecStages, matvecThreads, matvecWgsl } from "./matvec.ts";
import { MOST_F16 } from "./round_input.ts";
import stage from "./stage_normed.wgsl" with { type: "text" };

/** {@link MatvecConfig} for one item, and how its input is normalised. */
export interface NormMatvecConfig extends MatvecConfig {
  readonly itemsAtOnce: 1;
  readonly eps: number;
  /** Whether `normed` takes the normalised row, for others, and in what precision; what f16 cannot hold becomes the largest that it can. */
  readonly keeps: false | "f32" | "f16";
}

/** Whether {@link normMatvec} can run so: inputs are staged, and read as `rms_norm` reads them. */
export function canNormalise(config: MatvecConfig): boolean {
  const { input, select } = config;
  return input === "plain" && select.kind === "all" && matvecStages(config) && readsVectors(config) && matvecThreads(config) === NORM_THREADS;
}

/** `normed` = rms_norm(x), if it is kept, and y = W · rms_norm(x), for one item, to the last bit what {@link rmsNorm} and {@link matvec} give; gamma: [columns]. */
export const normMatvec: Kernel<NormMatvecConfig, LinearBindings | "gamma" | "normed", LinearParams> = {
  name: "norm_matvec",
  bindings: { ...LINEAR_BINDINGS, gamma: "read", normed: "read_write" },
  params: LINEAR_PARAMS,
  wgsl(config) {
    const row = rowWgsl({ width: config.layout.columns, eps: config.eps }, 4);
    const kept = sectionsOf(config.keeps === "f16" ? keptF16 : keptF32);
    return row + halves + `const KEEPS = ${config.keeps !== false};\n` + matvecWgsl(config, fill(stage, kept));
  },
  workgroupBytes: (config) => [...inverseRmsBytes(NORM_THREADS), ...matvec.workgroupBytes!(config)],
  workgroups: matvec.workgroups,
  sizes: (config, params) => ({
    ...matvec.sizes(config, params),
    gamma: config.layout.columns * 4,
    normed: config.keeps === false ? 0 : config.layout.columns * (config.keeps === "f16" ? 2 : 4),
  }),
  reference(config, buffers, params) {
    const { columns: width } = config.layout;
    const f32 = new Float32Array(width);
    rmsNorm.reference({ width, inputStride: width, eps: config.eps }, { ...buffers, y: { ...buffers.x, f32 } }, { rows: 1, first_row: 0 });
    if (config.keeps === "f32") buffers.normed.f32.set(f32);
    if (config.keeps === "f16") roundTo(buffers.normed, f32);
    matvec.reference(config, { ...buffers, x: { ...buffers.x, f32 } }, params);
  },
  wasm(config) {
    const multiply = matvec.wasm!(config);
    if (multiply === null) return null;
    return (binding) => {
      const { columns } = config.layout;
      const own = config.keeps === "f32" ? null : binding.share("normed", columns);
      const normed = own?.address ?? binding.at.normed;
      const normalise = normaliseRows(binding, { x: binding.at.x, gamma: binding.at.gamma, y: normed, delta: 0 }, {
        width: columns,
        eps: config.eps,
      });
      const run = multiply({ ...binding, at: { ...binding.at, x: normed } });
      return (params) => {
        normalise(1);
        if (config.keeps === "f16") roundTo(binding.views.normed, own!.f32);
        run(params);
      };
    };
  },
};

function roundTo({ f16 }: HostBuffer, values: Float32Array): void {
  values.forEach((value, i) => f16[i] = Math.max(-MOST_F16, Math.min(MOST_F16, value)));
}

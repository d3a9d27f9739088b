/**
 * Adds a block's output to the residual stream and normalises it for the next block.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { moeCombine, type MoeCombineConfig } from "../moe_combine/moe_combine.ts";
import { unroll } from "../authoring/unroll.ts";
import source from "./add_rms_norm.wgsl" with { type: "text" };
import addedDelta from "./added_delta.wgsl" with { type: "text" };
import addedExperts from "./added_experts.wgsl" with { type: "text" };
import { normaliseRows } from "./wasm.ts";
import put from "./put.wgsl" with { type: "text" };
import { NORM_THREADS, rmsNorm, type RmsNormConfig, rowWgsl, valuesPerRead } from "./rms_norm.ts";

/** Width that is normalised. */
export type AddRmsNormConfig = Omit<RmsNormConfig, "inputStride">;

/** x += delta; y = x / √(mean(x²) + eps) · gamma, row by row; all [rows, width]. */
export const addRmsNorm: Kernel<AddRmsNormConfig, "x" | "delta" | "gamma" | "y", "rows"> = {
  name: "add_rms_norm",
  bindings: { x: "read_write", delta: "read", gamma: "read", y: "read_write" },
  params: ["rows"],
  wgsl: (config) => addRmsNormWgsl(config, addedDelta),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width }, { rows }) => ({ x: rows * width * 4, delta: rows * width * 4, gamma: width * 4, y: rows * width * 4 }),
  reference({ width, eps }, { x, delta, gamma, y }, { rows }) {
    for (let i = 0; i < rows * width; i++) x.f32[i] += delta.f32[i];
    rmsNorm.reference({ width, inputStride: width, eps }, { x, gamma, y }, { rows, first_row: 0 });
  },
  wasm: (config) => (binding) => {
    const run = normaliseRows(binding, binding.at, config);
    return ({ rows }) => run(rows);
  },
};

/** {@link addRmsNorm} after {@link moeCombine} in one, to the last bit: delta, where it holds a shared expert's output, is left as it is. */
export const combineRmsNorm: Kernel<AddRmsNormConfig & MoeCombineConfig, "x" | "delta" | "gamma" | "y" | "gates" | "expert_out", "rows"> = {
  name: "combine_rms_norm",
  bindings: { x: "read_write", delta: "read", gamma: "read", y: "read_write", gates: "read", expert_out: "read" },
  params: ["rows"],
  wgsl: (config) =>
    addRmsNormWgsl(
      config,
      constants({ ACTIVE: config.activeExperts }) + `const ADD_TO_SHARED = ${config.addToShared};\n` +
        unroll(addedExperts, { ACTIVE: config.activeExperts }),
    ),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width, activeExperts }, { rows }) => ({
    x: rows * width * 4,
    delta: rows * width * 4,
    gamma: width * 4,
    y: rows * width * 4,
    gates: rows * activeExperts * 4,
    expert_out: rows * activeExperts * width * 4,
  }),
  reference(config, { x, delta, gamma, y, gates, expert_out }, { rows }) {
    const f32 = delta.f32.slice(0, rows * config.width);
    moeCombine.reference(config, { gates, expert_out, y: { ...delta, f32 } }, { tokens: rows });
    addRmsNorm.reference(config, { x, delta: { ...delta, f32 }, gamma, y }, { rows });
  },
  wasm: (config) => (binding) => {
    const { at, most, allocate, share, call } = binding;
    const { width, activeExperts, addToShared } = config;
    const combined = share("combined", most.rows * width).address;
    const args = allocate(6);
    args.u32.set([at.gates, at.expert_out, addToShared ? at.delta : 0, combined, width, activeExperts]);
    const normalise = normaliseRows(binding, { x: at.x, delta: combined, gamma: at.gamma, y: at.y }, config);
    return ({ rows }) => {
      call("combine", args, rows, width * activeExperts);
      normalise(rows);
    };
  },
};

/** The shader of a kernel that adds and normalises. @param added declares `added(row, k)`, what joins the stream, and what it reads, from binding 2 and from 5 on */
export function addRmsNormWgsl({ width, eps }: AddRmsNormConfig, added: string): string {
  const values = valuesPerRead(width);
  return rowWgsl({ width, eps }, values) + put + added + unroll(source, { EACH: ceilDiv(width / values, NORM_THREADS) });
}

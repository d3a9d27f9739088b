/**
 * Random linear layers with random inputs, run by any kernel for decode.
 *
 * @module
 */
import type { MatrixLayout } from "../../core/model/packing.ts";
import type { Kernel } from "../../kernels/authoring/contract.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { itemsPerInput, matrixOf, type Select } from "../../kernels/linear/select.ts";
import { runKernel } from "./kernel.ts";
import { multiplied, randomMatrix } from "./matrices.ts";
import { Random, SEED } from "../../bench/support/random.ts";

/** What is multiplied by what. */
export interface Task {
  readonly config: LinearConfig;
  readonly matrices: number;
  readonly items: number;
  readonly routes: Uint32Array<ArrayBuffer>;
  readonly weights: ReturnType<typeof randomMatrix>;
  readonly x: Float32Array<ArrayBuffer>;
}

/** What a task is made from. */
export interface TaskShape {
  readonly layout: MatrixLayout;
  readonly outputs: number;
  readonly rows: number;
  readonly select: Select;
  readonly input?: "plain" | "gated";
  /** `select: expert`: of how many, and how many each row has. */
  readonly experts?: number;
  readonly active?: number;
}

/** Makes one up. */
export function makeTask(random: Random, { layout, outputs, rows, select, input = "plain", experts = 1, active = 1 }: TaskShape): Task {
  const inputStride = 2 * layout.columns;
  const matrices = { all: 1, head: select.kind === "head" ? select.heads : 1, expert: experts }[select.kind];
  const items = rows * { all: 1, head: matrices, expert: active }[select.kind];
  return {
    config: { layout, outputs, inputStride, input, select },
    matrices,
    items,
    routes: routesOf(random, { rows, experts, active }),
    weights: randomMatrix(random, layout, matrices * outputs),
    x: random.normals(items / itemsPerInput(select) * inputStride),
  };
}

/** Experts of each row, which differ. */
export function routesOf(
  random: Random,
  { rows, experts, active }: { readonly rows: number; readonly experts: number; readonly active: number },
): Uint32Array<ArrayBuffer> {
  const routes = new Uint32Array(rows * active);
  for (let row = 0; row < rows; row++) {
    const left = Array.from({ length: experts }, (_, expert) => expert);
    for (let i = 0; i < active; i++) routes[row * active + i] = left.splice(random.below(left.length), 1)[0];
  }
  return routes;
}

/** Which outputs and matrices are bound; all of them by default. */
export interface Bound {
  readonly firstOutput?: number;
  readonly outputs?: number;
  readonly firstMatrix?: number;
  readonly matrices?: number;
}

/** What a kernel writes, as bits. @param how configuration of the kernel beside that of the layer */
export async function runTask<C extends LinearConfig>(
  device: Device,
  kernel: Kernel<C, LinearBindings, LinearParams>,
  how: Omit<C, keyof LinearConfig | "adds">,
  { config, matrices, items, routes, weights: { packed }, x }: Task,
  { firstOutput = 0, outputs = config.outputs, firstMatrix = 0, matrices: count = matrices }: Bound = {},
  adds = false,
): Promise<Uint32Array<ArrayBuffer>> {
  const [first, rows] = config.select.kind === "all" ? [firstOutput, outputs] : [firstMatrix * config.outputs, count * config.outputs];
  const { rowBytes, scaleRowBytes } = config.layout;
  const inputs = {
    weights: packed.data.slice(first * rowBytes, (first + rows) * rowBytes),
    scales: packed.scales.slice(first * scaleRowBytes, (first + rows) * scaleRowBytes),
    routes,
    x,
    y: adds ? new Random(SEED + 1).normals(items * config.outputs) : { poison: items * config.outputs },
  };
  const params = { items, first_output: firstOutput, part_outputs: outputs, first_matrix: firstMatrix, matrices: count };
  return (await runKernel(device, kernel, { ...config, ...how, adds } as unknown as C, inputs, params)).y.u32;
}

/** The same with inputs in f16, as matrix units take them. */
export function rounded({ config, x, ...task }: Task): Task & { readonly config: { readonly input: "rounded" } } {
  const { layout: { columns }, inputStride, input } = config;
  const rows = x.length / inputStride;
  const values = Float16Array.from({ length: rows * columns }, (_, i) => {
    const at = Math.floor(i / columns) * inputStride + i % columns;
    return input === "gated" ? x[at] / (1 + Math.exp(-x[at])) * x[at + columns] : x[at];
  });
  return { ...task, config: { ...config, input: "rounded" }, x: new Float32Array(values.buffer) };
}

/** What it should write. @param rounds see {@link multiplied} */
export function expectedOf({ config, items, routes, weights, x }: Task, rounds = false): Float64Array {
  const { select } = config;
  const of = (item: number) => ({ matrix: matrixOf(select, item, routes), input: Math.floor(item / itemsPerInput(select)) });
  return multiplied(weights.values, x, config, Array.from({ length: items }, (_, item) => of(item)), rounds);
}

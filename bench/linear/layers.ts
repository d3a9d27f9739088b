/**
 * The linear layers of a decode step, made up on a device one by one.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import type { MatrixLayout, WeightFormat } from "../../core/model/packing.ts";
import { type ModelSpec, queryWidth } from "../../core/model/spec.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { randomBits } from "../../core/random.ts";
import type { UnitsOutput } from "../../kernels/linear/batch_units.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { fillScales } from "../../workers/load/weight_maker.ts";
import { fillRandom } from "../fill.ts";
import { storedLayout, type StoredName } from "../support/stored.ts";

/** A layer, and how many of it a model has. */
export interface BenchLayer {
  readonly name: string;
  readonly count: number;
  readonly outputs: number;
  readonly columns: number;
  readonly matrices: number;
  /** Items of a row. */
  readonly active: number;
  readonly input: "plain" | "gated";
  readonly select: Select;
  /** What it gives on matrix units. */
  readonly gives: UnitsOutput;
}

/** Those of a model whose queries are not compressed. */
export function layersOf(spec: ModelSpec): readonly BenchLayer[] {
  const { hiddenSize: D, heads, latentWidth, valueWidth, layers, denseLayers } = spec;
  const moe = spec.moe!;
  const routed = layers - denseLayers;
  const plain = (
    name: string,
    count: number,
    outputs: number,
    columns: number,
    more: Partial<Pick<BenchLayer, "input" | "gives">> = {},
  ): BenchLayer => (
    { name, count, outputs, columns, matrices: 1, active: 1, input: "plain", select: { kind: "all" }, gives: "f32", ...more }
  );
  const experts = { matrices: moe.experts, active: moe.activeExperts, count: routed };
  return [
    {
      ...experts,
      name: "experts up",
      outputs: 2 * moe.expertWidth,
      columns: D,
      input: "plain",
      select: { kind: "expert", perInput: moe.activeExperts },
      gives: "activated",
    },
    { ...experts, name: "experts down", outputs: D, columns: moe.expertWidth, input: "gated", select: { kind: "expert", perInput: 1 }, gives: "f32" },
    plain("shared up", routed, 2 * moe.sharedWidth, D, { gives: "activated" }),
    plain("shared down", routed, D, moe.sharedWidth, { input: "gated" }),
    plain("queries", layers, heads * queryWidth(spec), D),
    plain("output", layers, D, heads * valueWidth),
    {
      name: "values",
      count: layers,
      outputs: valueWidth,
      columns: latentWidth,
      matrices: heads,
      active: heads,
      input: "plain",
      select: { kind: "head", heads },
      gives: "f16",
    },
    plain("vocabulary", 1, spec.vocabSize, D),
  ];
}

/** A layer with as many experts as can be bound at once: where there are more, a step takes them in parts. */
export function bindable(layer: BenchLayer, stored: StoredName, mostBytes: number): BenchLayer {
  if (layer.select.kind !== "expert") return layer;
  const { outputs, columns, matrices, active } = layer;
  return { ...layer, matrices: Math.max(active, Math.min(matrices, Math.floor(mostBytes / (outputs * storedLayout(stored, columns).rowBytes)))) };
}

/** A layer on a device, as often as it takes to find none of it in a cache. */
export interface MadeLayer {
  readonly layer: BenchLayer;
  readonly config: LinearConfig;
  readonly copies: readonly { readonly weights: DeviceBuffer; readonly scales: DeviceBuffer }[];
  readonly x: DeviceBuffer;
  readonly y: DeviceBuffer;
  /** Experts of so many rows, all different within a row. */
  readonly routes: ReadonlyMap<number, { readonly buffer: DeviceBuffer; readonly chosen: number }>;
  destroy(): void;
}

/** Several times what caches hold. */
const COLD_BYTES = 2 ** 28;

/** Makes a layer for steps of each number of rows. */
export async function makeLayer(device: Device, layer: BenchLayer, stored: StoredName, rows: readonly number[]): Promise<MadeLayer> {
  const { outputs, columns, matrices, active, input, select } = layer;
  const layout = storedLayout(stored, columns);
  const inputStride = columns * (input === "gated" ? 2 : 1);
  const most = Math.max(...rows) * active;
  const bytes = matrices * outputs * layout.rowBytes;
  const buffers: DeviceBuffer[] = [];
  const make = async (label: string, bytes: number, format: WeightFormat | null, seed = 1) => {
    const buffer = device.createBuffer(label, bytes);
    buffers.push(buffer);
    if (format !== null) await fillRandom(device, buffer, format, seed);
    return buffer;
  };
  const scales = await scalesOf(device, layout, matrices * outputs);
  buffers.push(scales);
  const copies = [];
  for (let copy = 0; copy < ceilDiv(isHost(device.kind) ? 1 : COLD_BYTES, bytes); copy++) {
    copies.push({ weights: await make("weights", bytes, layout.format, copy), scales });
  }
  const x = await make("x", most * inputStride * 4, "f32");
  const y = await make("y", most * outputs * 4, null);
  const routes = new Map<number, { readonly buffer: DeviceBuffer; readonly chosen: number }>();
  for (const count of rows) {
    const words = routesOf(count, matrices, active);
    const buffer = await make("routes", words.byteLength, null);
    device.write(buffer, 0, words);
    routes.set(count, { buffer, chosen: new Set(words).size });
  }
  await device.settle();
  const config: LinearConfig = { layout, outputs, inputStride, input, select };
  return { layer, config, copies, x, y, routes, destroy: () => buffers.forEach((buffer) => buffer.destroy()) };
}

async function scalesOf(device: Device, layout: MatrixLayout, rows: number): Promise<DeviceBuffer> {
  const scales = device.createBuffer("scales", Math.max(16, rows * layout.scaleRowBytes));
  // Beside zero points that are floats, any will do.
  if (layout.scaling === "f32-zero") await fillRandom(device, scales, "f32");
  else await fillScales(device, scales, layout);
  await device.settle();
  return scales;
}

function routesOf(rows: number, experts: number, active: number): Uint32Array<ArrayBuffer> {
  const routes = new Uint32Array(rows * active);
  for (let row = 0; row < rows; row++) {
    const left = Array.from({ length: experts }, (_, expert) => expert);
    for (let i = 0; i < active; i++) routes[row * active + i] = left.splice(randomBits(1, row, i) % left.length, 1)[0];
  }
  return routes;
}

/**
 * Two kernels in one dispatch. On a GPU, a dispatch waits for the one before as a whole wherever they touch the same buffers, and what one row of a decode step
 * asks for is mostly such waiting: kernels that do not read each other's results run side by side instead, some of the workgroups as the one and the rest as the
 * other.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { besideWgsl, type Side } from "../authoring/beside_wgsl.ts";
import { type HostBuffer, type Kernel, MOST_GROUPS, type Params, workgroupMemory, type Workgroups } from "../authoring/contract.ts";
import type { BoundKernel, CompiledKernel, Device, DeviceBuffer } from "./device.ts";

/** Configurations of both kernels. */
export interface BesideConfig<A, B> {
  readonly first: A;
  readonly second: B;
}

/** Bindings: those of both under names of their own. */
export type BesideBindings<A extends string, B extends string> = `first_${A}` | `second_${B}`;

/** Parameters of both, and how many workgroups each has in x and in all. */
export type BesideParams<A extends string, B extends string> = `first_${A}` | `second_${B}` | GridParams;

type GridParams = "columns_of_first" | "groups_of_first" | "columns_of_second" | "groups_of_second";

const GRID_PARAMS: readonly GridParams[] = ["columns_of_first", "groups_of_first", "columns_of_second", "groups_of_second"];

/** Whether both are one kernel, which then needs the workgroup memory of one. */
function alike(first: object, second: object): boolean {
  return first === second;
}

/** Alike ones share their variables, each as long as the longer one; where one has more of them than the other, it may be as much as both have. */
function workgroupBytes<CA, BA extends string, PA extends string, CB, BB extends string, PB extends string>(
  first: BesideSide<CA, BA, PA>,
  second: BesideSide<CB, BB, PB>,
): number {
  const [a, b] = [first.kernel.workgroupBytes?.(first.config) ?? [], second.kernel.workgroupBytes?.(second.config) ?? []];
  return workgroupMemory(alike(first.kernel, second.kernel) && a.length === b.length ? a.map((bytes, i) => Math.max(bytes, b[i])) : [...a, ...b]);
}

/** Two kernels as one. */
export interface BesideKernel<A, BA extends string, PA extends string, B, BB extends string, PB extends string>
  extends Kernel<BesideConfig<A, B>, BesideBindings<BA, BB>, BesideParams<PA, PB>> {
  readonly first: Kernel<A, BA, PA>;
  readonly second: Kernel<B, BB, PB>;
  /** Under which name a binding of one of them is bound. */
  boundAs(side: Side, name: string): string;
}

/** Whether a kernel is two. */
export function isBeside(
  kernel: Kernel<unknown, string, string>,
): kernel is BesideKernel<unknown, string, string, unknown, string, string> & Kernel<unknown, string, string> {
  return "first" in kernel && "second" in kernel;
}

/**
 * Both kernels as one. They need equally many threads per workgroup, and workgroups in x and y only.
 *
 * @param same bindings of the second that are a binding of the first: a buffer must not be bound twice if one of the two writes it
 * @throws {TypeError} if the second writes what the first only reads
 */
export function beside<CA, BA extends string, PA extends string, CB, BB extends string, PB extends string>(
  first: Kernel<CA, BA, PA>,
  second: Kernel<CB, BB, PB>,
  same: Partial<Record<BB, BA>> = {},
): BesideKernel<CA, BA, PA, CB, BB, PB> {
  const firstNames = Object.keys(first.bindings) as BA[];
  const secondNames = Object.keys(second.bindings) as BB[];
  const own = secondNames.filter((name) => same[name] === undefined);
  for (const [name, other] of Object.entries(same) as [BB, BA][]) {
    if (second.bindings[name] === "read_write" && first.bindings[other] === "read") {
      throw new TypeError(`Cannot put ${second.name} beside ${first.name}: it writes ${name}, which is the other's ${other}, and that only reads it`);
    }
  }
  const pick = <K extends string, T>(side: Side, keys: readonly K[], from: Readonly<Record<string, T>>) =>
    Object.fromEntries(keys.map((key) => [key, from[`${side}_${key}`]])) as Record<K, T>;
  const boundAs = (side: Side, name: string) => {
    const other = side === "second" ? same[name as BB] : undefined;
    return other === undefined ? `${side}_${name}` : `first_${other}`;
  };
  return {
    first,
    second,
    boundAs,
    name: `${first.name}+${second.name}`,
    bindings: {
      ...prefixed("first", first.bindings, firstNames),
      ...prefixed("second", second.bindings, own),
    } as Record<BesideBindings<BA, BB>, "read" | "read_write">,
    params: [...first.params.map((name) => `first_${name}` as const), ...second.params.map((name) => `second_${name}` as const), ...GRID_PARAMS],
    wgsl: (config) =>
      besideWgsl(
        { source: first.wgsl(config.first), bindings: firstNames },
        { source: second.wgsl(config.second), bindings: own, same: same as Readonly<Record<string, string>> },
        alike(first, second),
      ),
    workgroups: (_, { groups_of_first, groups_of_second }) => {
      const groups = groups_of_first + groups_of_second;
      return [Math.min(groups, MOST_GROUPS), ceilDiv(groups, MOST_GROUPS), 1];
    },
    sizes(config, params) {
      const firstSizes = first.sizes(config.first, pick("first", first.params, params));
      const secondSizes = second.sizes(config.second, pick("second", second.params, params));
      const sizes: Record<string, number> = { ...prefixed("first", firstSizes, firstNames), ...prefixed("second", secondSizes, own) };
      for (const [name, other] of Object.entries(same) as [BB, BA][]) sizes[`first_${other}`] = Math.max(sizes[`first_${other}`], secondSizes[name]);
      return sizes as Record<BesideBindings<BA, BB>, number>;
    },
    reference(config, buffers, params) {
      const views: Readonly<Record<string, HostBuffer>> = buffers;
      const ofSecond = Object.fromEntries(secondNames.map((name) => [name, views[boundAs("second", name)]])) as Record<BB, HostBuffer>;
      first.reference(config.first, pick("first", firstNames, views), pick("first", first.params, params));
      second.reference(config.second, ofSecond, pick("second", second.params, params));
    },
  };
}

function prefixed<T>(side: Side, record: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(keys.map((key) => [`${side}_${key}`, record[key]]));
}

function flat(name: string, [x, y, z]: Workgroups): readonly [x: number, y: number] {
  if (z !== 1) throw new LatentmeshError("internal", `Cannot put ${name} beside another kernel: it has workgroups in z`);
  return [x, y];
}

/** Two kernels that run side by side, bound. */
export class Beside<PA extends string, PB extends string> {
  readonly #device: Device;
  readonly #bound: BoundKernel<BesideParams<PA, PB>>;
  readonly #merge: (first: Params<PA>, second: Params<PB>) => Params<BesideParams<PA, PB>>;

  private constructor(
    device: Device,
    bound: BoundKernel<BesideParams<PA, PB>>,
    merge: (first: Params<PA>, second: Params<PB>) => Params<BesideParams<PA, PB>>,
  ) {
    this.#device = device;
    this.#bound = bound;
    this.#merge = merge;
  }

  /**
   * Compiles and binds.
   *
   * @param same see {@link beside}
   * @returns null if the device does not allow as many bindings, or as much workgroup memory
   */
  static async create<CA, BA extends string, PA extends string, CB, BB extends string, PB extends string>(
    device: Device,
    first: BesideSide<CA, BA, PA>,
    second: BesideSide<CB, BB, PB>,
    same: Partial<Record<BB, BA>> = {},
  ): Promise<Beside<PA, PB> | null> {
    const kernel = beside(first.kernel, second.kernel, same);
    if (Object.keys(kernel.bindings).length > device.limits.maxBindings) return null;
    if (workgroupBytes(first, second) > device.limits.maxWorkgroupBytes) return null;
    const [firstKeys, secondKeys] = [first.kernel.params.map((name) => `first_${name}`), second.kernel.params.map((name) => `second_${name}`)];
    const merged: Record<string, number> = {};
    // Valid until the next call: it is asked for with every step.
    const merge = (a: Params<PA>, b: Params<PB>): Params<BesideParams<PA, PB>> => {
      first.kernel.params.forEach((name, i) => merged[firstKeys[i]] = a[name]);
      second.kernel.params.forEach((name, i) => merged[secondKeys[i]] = b[name]);
      const [ax, ay] = flat(first.kernel.name, first.kernel.workgroups(first.config, a));
      const [bx, by] = flat(second.kernel.name, second.kernel.workgroups(second.config, b));
      merged.columns_of_first = ax;
      merged.groups_of_first = ax * ay;
      merged.columns_of_second = bx;
      merged.groups_of_second = bx * by;
      return merged as Record<BesideParams<PA, PB>, number>;
    };
    const compiled: CompiledKernel<BesideBindings<BA, BB>, BesideParams<PA, PB>> = await device.compile(kernel, {
      first: first.config,
      second: second.config,
    });
    const buffers: Record<string, DeviceBuffer> = prefixed("first", first.buffers, Object.keys(first.kernel.bindings));
    for (const name of Object.keys(second.kernel.bindings) as BB[]) if (same[name] === undefined) buffers[`second_${name}`] = second.buffers[name];
    const bound = compiled.bind(buffers as Record<BesideBindings<BA, BB>, DeviceBuffer>, { ...merge(first.most, second.most) });
    return new Beside(device, bound, merge);
  }

  /** Records both. */
  run(first: Params<PA>, second: Params<PB>): void {
    this.#device.run(this.#bound, this.#merge(first, second));
  }
}

/** One of two kernels that are to run side by side: what it is, what it works on, and the most it is run with. */
export interface BesideSide<C, B extends string, P extends string> {
  readonly kernel: Kernel<C, B, P>;
  readonly config: C;
  readonly buffers: Readonly<Record<B, DeviceBuffer>>;
  readonly most: Params<P>;
}

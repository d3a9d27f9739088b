/**
 * How much of the matrix of tests is run: all of it, or, on machines without a GPU driver, where nobody serves and everything is slow, each thing once. What is left
 * out is reported as such, by name.
 *
 * @module
 */
import { it } from "@std/testing/bdd";

// Where there is no Vulkan driver Deno would take a GL adapter, if need be a software one that compiles for minutes; nobody serves on that.
const BACKENDS = "DENO_WEBGPU_BACKEND";
if (!Deno.env.has(BACKENDS)) Deno.env.set(BACKENDS, "vulkan,metal,dx12");

/** The GPU that Deno has here, if there is any. */
export const ADAPTER: GPUAdapter | null = await navigator.gpu?.requestAdapter() ?? null;

/** Whether everything is tested. */
export const WHOLE: boolean = asksForAll(Deno.env.get("LATENTMESH_TEST")) || ADAPTER !== null;

/** Why something is left out, in the names of tests. */
export const LEFT_OUT = "left out, no GPU driver";

/** A test that is left out where not everything is tested. */
export function itOfWhole(name: string, body: () => void | Promise<void>): void {
  if (WHOLE) it(name, body);
  else it.skip(`${name}: ${LEFT_OUT}`);
}

/** Cases of a matrix that are tested: where not everything is, those that `stays` is true of. @param what names them, for the report */
export function tested<T>(what: string, cases: readonly T[], stays: (one: T, index: number) => boolean): readonly T[] {
  if (WHOLE) return cases;
  const kept = cases.filter(stays);
  if (kept.length < cases.length) it.skip(`${cases.length - kept.length} of ${cases.length} ${what}: ${LEFT_OUT}`);
  return kept;
}

/** The same for cases within one test: the first and the last. Whoever uses it says so with {@link reportLeftOut}. */
export function fewOf<T>(cases: readonly T[]): readonly T[] {
  return WHOLE || cases.length < 3 ? cases : [cases[0], cases.at(-1)!];
}

/** Reports what is left out within tests. */
export function reportLeftOut(what: string): void {
  if (!WHOLE) it.skip(`${what}: ${LEFT_OUT}`);
}

/** @throws {TypeError} for what is neither unset nor `all` */
function asksForAll(value: string | undefined): boolean {
  if (value === undefined || value === "") return false;
  if (value === "all") return true;
  throw new TypeError(`LATENTMESH_TEST is "${value}": set it to all, which tests everything without a GPU driver too, or not at all`);
}

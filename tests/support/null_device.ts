/**
 * Dawn's null backend: it takes every command, checks shaders, and computes nothing. What the host does can be tested and timed on it. It has 512 MiB.
 *
 * @module
 */
import { it } from "@std/testing/bdd";
import { PLAIN_FEATURES } from "../../kernels/device/device.ts";
import { GpuDevice } from "../../kernels/device/gpu_device.ts";
import { MATRIX_PRELUDE } from "../../kernels/device/gpu_parts.ts";
import { paceDawn } from "../../kernels/device/pace_dawn.ts";
import { MATRIX_FEATURES } from "../../kernels/device/providers.ts";

/** Where Dawn is. `TEST_DAWN` is for where there is no GPU that it could open, or none that all suites are to run on as well. */
const DAWN = Deno.env.get("TEST_DAWN") ?? Deno.env.get("LATENTMESH_DAWN");

/** Why nothing can be tested on the null backend; null if it can. */
export const nullAbsence: string | null = DAWN === undefined ? "neither TEST_DAWN nor LATENTMESH_DAWN is set" : null;

/** For tests on the null backend, skipped by name where there is none. */
export const itOnNull: (name: string, body: () => Promise<void>) => void = nullAbsence === null
  ? it
  : (name) => it.skip(`${name}: skipped, ${nullAbsence}`);

/** Dawn segfaults when its GPU object is collected while devices live. */
const instances = new Map<string, GPU>();

/**
 * A device that computes nothing, and what is behind it, unless {@link nullAbsence} says why there is none. The caller closes it.
 *
 * @param units whether it says that it has matrix units, and checks every command, which Dawn does not where it serves
 */
export async function openNullDevice({ units = false } = {}): Promise<{ device: GpuDevice; gpu: GPUDevice }> {
  const polling = paceDawn();
  const adapter = await nullAdapter(units ? CHECKING : SERVING);
  const { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize };
  const gpu = await adapter.requestDevice({ requiredLimits, requiredFeatures: units ? [...MATRIX_FEATURES] : [] });
  const features = units ? { matrixUnits: true, subgroups: 32 } : PLAIN_FEATURES;
  return { device: new GpuDevice(gpu, { kind: "dawn", description: "Dawn's null backend", polling, features }), gpu };
}

/** What Dawn finds wrong with kernels for matrix units, which are given by name. */
export async function unitsProblems(kernels: Readonly<Record<string, string>>): Promise<string[]> {
  paceDawn();
  const gpu = await (await nullAdapter(SERVING)).requestDevice({ requiredFeatures: [...MATRIX_FEATURES] });
  const problems: string[] = [];
  for (const [name, wgsl] of Object.entries(kernels)) {
    const { messages } = await gpu.createShaderModule({ code: MATRIX_PRELUDE + wgsl }).getCompilationInfo();
    for (const { lineNum, message } of messages) problems.push(`${name}, line ${lineNum}: ${message}`);
  }
  gpu.destroy();
  return problems;
}

/** What Dawn is told where it serves, and where it is to check every command. */
const [SERVING, CHECKING] = ["enable-dawn-features=allow_unsafe_apis,skip_validation", "enable-dawn-features=allow_unsafe_apis"];

async function nullAdapter(how: string): Promise<GPUAdapter> {
  let instance = instances.get(how);
  if (instance === undefined) {
    const { create, globals } = await import(new URL(DAWN!, `file://${Deno.cwd()}/`).href);
    for (const [name, value] of Object.entries(globals)) if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
    instances.set(how, instance = create(["backend=null", how]) as GPU);
  }
  return (await instance.requestAdapter())!;
}

/**
 * Dawn's null backend: it takes every command, checks shaders, and computes nothing. What the host does can be tested and timed on it. It has 512 MiB.
 *
 * @module
 */
import { PLAIN_FEATURES } from "../../kernels/device/device.ts";
import { GpuDevice } from "../../kernels/device/gpu_device.ts";
import { MATRIX_PRELUDE } from "../../kernels/device/gpu_parts.ts";
import { paceDawn } from "../../kernels/device/pace_dawn.ts";
import { MATRIX_FEATURES } from "../../kernels/device/providers.ts";

/** Dawn segfaults when its GPU object is collected while devices live. */
const instances = new Map<string, GPU>();

/**
 * A device that computes nothing, and what is behind it; `LATENTMESH_DAWN` must say where Dawn is. The caller closes it.
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
    const { create, globals } = await import(new URL(Deno.env.get("LATENTMESH_DAWN")!, `file://${Deno.cwd()}/`).href);
    for (const [name, value] of Object.entries(globals)) if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
    instances.set(how, instance = create(["backend=null", how]) as GPU);
  }
  return (await instance.requestAdapter())!;
}

/**
 * Runs single kernels.
 *
 * @module
 */
import type { Kernel, Params } from "../../kernels/authoring/contract.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";

/** Bytes of a buffer after the run, as every element type. */
export interface Output {
  readonly f32: Float32Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
}

/** A float32 NaN, which no kernel writes by accident. */
const POISON = 0x7fc0dead;

/** What a binding starts with: given data, or `poison` floats of NaN. */
export type Input = ArrayBufferView<ArrayBuffer> | { readonly poison: number };

/** Runs a kernel once and reads its writable bindings back. */
export async function runKernel<C, B extends string, P extends string>(
  device: Device,
  kernel: Kernel<C, B, P>,
  config: C,
  inputs: Readonly<Record<B, Input>>,
  params: Params<P>,
): Promise<Record<B, Output>> {
  const names = Object.keys(kernel.bindings) as B[];
  const buffers = Object.fromEntries(names.map((name) => [name, bufferOf(device, name, inputs[name])])) as Record<B, DeviceBuffer>;
  const bound = (await device.compile(kernel, config)).bind(buffers, params);
  device.run(bound, params);
  const outputs = {} as Record<B, Output>;
  for (const name of names.filter((name) => kernel.bindings[name] === "read_write")) {
    const readback = await device.createReadback(name, buffers[name].bytes);
    device.read(readback, buffers[name], 0, lengthOf(inputs[name]));
    device.submit();
    const bytes = (await readback.take()).slice();
    outputs[name] = { f32: new Float32Array(bytes.buffer), u32: new Uint32Array(bytes.buffer) };
    readback.destroy();
  }
  await device.settle();
  for (const name of names) buffers[name].destroy();
  return outputs;
}

function bufferOf(device: Device, name: string, input: Input): DeviceBuffer {
  const bytes = lengthOf(input);
  const buffer = device.createBuffer(name, bytes);
  const data = "poison" in input ? new Uint32Array(input.poison).fill(POISON) : input;
  if (bytes > 0) device.write(buffer, 0, data);
  return buffer;
}

function lengthOf(input: Input): number {
  return "poison" in input ? input.poison * 4 : input.byteLength;
}

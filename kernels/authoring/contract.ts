/**
 * The one contract of every kernel: its name, a typed configuration that becomes constants of the WGSL source, run-time parameters that travel in
 * a uniform, the least size of every binding, and the same computation in plain TypeScript beside it.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { HostBuffer, Params } from "./host_buffer.ts";
import type { WasmProgram } from "./wasm_program.ts";

export type { HostBuffer, Params } from "./host_buffer.ts";

/** Workgroup memory that variables take, each of which begins at a multiple of 16 bytes. */
export function workgroupMemory(bytes: readonly number[]): number {
  return bytes.reduce((sum, each) => sum + roundUp(each, 16), 0);
}

/** Workgroups in x, y and z. */
export type Workgroups = readonly [x: number, y: number, z: number];

/** Most workgroups of a dispatch in one dimension, on every device. */
export const MOST_GROUPS = 65535;

/**
 * One operation.
 *
 * @typeParam C configuration: shapes and formats, fixed when the pipeline is compiled
 * @typeParam B names of the bindings
 * @typeParam P names of the run-time parameters
 */
export interface Kernel<C, B extends string, P extends string> {
  readonly name: string;
  /** Bindings 1, 2, … of group 0 in this order; binding 0 is the uniform `params`. */
  readonly bindings: Readonly<Record<B, "read" | "read_write">>;
  /** Fields of the uniform, in this order. */
  readonly params: readonly P[];
  /** WGSL without the declaration of `params`, which is generated. */
  wgsl(config: C): string;
  /** Bytes of each variable in workgroup memory, of kernels that run beside others: every device has 16 KiB, for both together. */
  workgroupBytes?(config: C): readonly number[];
  /** How much is dispatched; any zero skips the dispatch. */
  workgroups(config: C, params: Params<P>): Workgroups;
  /** Least bytes that each binding must hold when run with `params`. */
  sizes(config: C, params: Params<P>): Readonly<Record<B, number>>;
  /** The same computation on host memory, accumulated in float64. */
  reference(config: C, buffers: Readonly<Record<B, HostBuffer>>, params: Params<P>): void;
  /** The same in WebAssembly. @returns null where the reference is to be run */
  wasm?(config: C): WasmProgram<B, P> | null;
}

/** `const NAME: u32 = 3u;` lines for integers and `const NAME: f32 = 0.5f;` lines for the values of `floats`. @throws {LatentmeshError} if an integer is none */
export function constants(integers: Readonly<Record<string, number>>, floats: Readonly<Record<string, number>> = {}): string {
  const lines = Object.entries(integers).map(([name, value]) => {
    invariant(Number.isInteger(value) && value >= 0, `the shader constant ${name} is ${value}`);
    return `const ${name}: u32 = ${value}u;`;
  });
  lines.push(...Object.entries(floats).map(([name, value]) => `const ${name}: f32 = ${floatLiteral(value)};`));
  return lines.join("\n") + "\n";
}

function floatLiteral(value: number): string {
  const text = Math.fround(value).toString();
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

/** WGSL declaration of the uniform of a kernel. */
export function paramsDeclaration(params: readonly string[]): string {
  const fields = params.map((name) => `  ${name}: u32,`).join("\n");
  return `struct Params {\n${fields}\n}\n@group(0) @binding(0) var<uniform> params: Params;\n`;
}

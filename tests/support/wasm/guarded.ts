/**
 * Runs compiled kernels by themselves, with exactly the memory that they have asked for, between guards, or, one block after the other of one run after the other, at the
 * end of memory, beyond which a read is an error, too; what they have not written is NaN.
 *
 * @module
 */
import { assert } from "@std/assert";
import { roundUp } from "../../../core/numeric.ts";
import type { Kernel, Params } from "../../../kernels/authoring/contract.ts";
import { type ByteDots, WASM_KERNELS, type WasmArguments } from "../../../kernels/authoring/wasm_program.ts";
import fused from "../../../kernels/device/wasm/fused.base64" with { type: "text" };
import { compilePacked } from "../../../kernels/device/wasm/packed_module.ts";
import plain from "../../../kernels/device/wasm/plain.base64" with { type: "text" };
import type { WasmExports } from "../../../kernels/device/wasm/pool.ts";
import { type Block, WasmMemory } from "../../../kernels/device/wasm/wasm_memory.ts";

/** Of a guard. */
const GUARD_BYTES = 4096;
/** NaN in every format of floats, what a guard is full of. */
const BYTE = 0xff;

/** What all blocks but the last fit into, as a rule: where they do not, none is at the end. */
const ROOM = 1 << 22;
/** Runs after which every block of one has been there: more than most have of bindings, arguments, and what is worked with. */
export const BLOCKS = 12;

/** Of the next run, the number of the block that lies at the end of memory. */
let last = 0;

/** The modules by how they multiply and add. */
const MODULES = { fused: await compilePacked(fused), plain: await compilePacked(plain) };

/** Compiled how, and how bytes are multiplied. */
export interface Compiled {
  readonly module: keyof typeof MODULES;
  readonly byteDots: ByteDots;
  readonly wide: boolean;
}

/**
 * Runs a kernel once. Fails if it writes to what is not its own.
 *
 * @param most what it is bound for
 * @returns its bindings as bytes
 */
export function runGuarded<C, B extends string, P extends string>(
  kernel: Kernel<C, B, P>,
  config: C,
  inputs: Readonly<Record<B, ArrayBufferView<ArrayBuffer>>>,
  params: Params<P>,
  { module, byteDots, wide, most = params }: Compiled & { readonly most?: Params<P> },
): Record<B, Uint8Array<ArrayBuffer>> {
  const memory = new WasmMemory();
  memory.free(memory.allocate(ROOM, "room"));
  let before = last++ % BLOCKS;
  const exports = new WebAssembly.Instance(MODULES[module], { env: { memory: memory.memory } }).exports as unknown as WasmExports;
  const guards: Block[] = [];
  const guarded = (bytes: number, fill: number): Block => {
    const { address, bytes: whole } = before-- === 0 ? atEnd(memory, bytes) : memory.allocate(bytes, "test");
    const behind = address + whole === memory.memory.buffer.byteLength ? [] : [memory.allocate(GUARD_BYTES, "guard")];
    new Uint8Array(memory.memory.buffer, address, bytes).fill(fill);
    // What alignment leaves behind it is none of it.
    for (const block of [{ address: address + bytes, bytes: whole - bytes }, ...behind]) {
      new Uint8Array(memory.memory.buffer, block.address, block.bytes).fill(BYTE);
      guards.push(block);
    }
    return { address, bytes };
  };
  const words = (count: number, fill: number): WasmArguments => {
    const block = guarded(count * 4, fill);
    return { address: block.address, ...memory.views(block) };
  };
  guarded(0, 0);
  const names = Object.keys(kernel.bindings) as B[];
  const bound = names.map((name) => {
    const { buffer, byteOffset, byteLength } = inputs[name];
    const block = guarded(Math.max(4, byteLength), 0);
    const views = memory.views(block);
    views.u8.set(new Uint8Array(buffer, byteOffset, byteLength));
    return { address: block.address, views };
  });
  const of = <T>(value: (at: number) => T) => Object.fromEntries(names.map((name, i) => [name, value(i)])) as Record<B, T>;
  // There is always a word: what runs a kernel clears it.
  let scratchBytes = 4;
  const run = kernel.wasm!(config)!({
    at: of((i) => bound[i].address),
    views: of((i) => bound[i].views),
    most,
    byteDots,
    wide,
    allocate: (count) => words(count, 0),
    share: (_, count) => words(count, BYTE),
    reserve: (bytes) => void (scratchBytes = Math.max(scratchBytes, bytes)),
    call(name, { address }, pieces) {
      if (pieces > 0) exports.runAlone(WASM_KERNELS.indexOf(name), address, pieces, guarded(scratchBytes, BYTE).address);
    },
  });
  run(params);
  for (const { address, bytes } of guards) {
    assert(new Uint8Array(memory.memory.buffer, address, bytes).every((byte) => byte === BYTE), `${kernel.name} wrote beyond what is its own`);
  }
  return of((i) => bound[i].views.u8.slice(0, inputs[names[i]].byteLength));
}

/** A block behind which memory ends. */
function atEnd(memory: WasmMemory, bytes: number): Block {
  const whole = roundUp(Math.max(bytes, 1), 64);
  memory.allocate(roundUp(ROOM + whole, 1 << 16), "what does not fit");
  return { address: memory.memory.buffer.byteLength - whole, bytes: whole };
}

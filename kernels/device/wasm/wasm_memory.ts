/**
 * The one memory of a `wasm` device: buffers, arguments of kernels, and what threads share. A WebAssembly memory has 4 GiB at most.
 *
 * @module
 */
import { wasmAdvice } from "../../../core/device_kind.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { roundUp } from "../../../core/numeric.ts";
import type { HostBuffer } from "../../authoring/contract.ts";

const PAGE = 65536;
/** Pages of a memory at most. */
const MOST_PAGES = 65536;
/** End of what blocks may have. The last page stays free: whatever a kernel adds to a block's address in an instruction is less, and does not leave the memory. */
const END = (MOST_PAGES - 1) * PAGE;
/** Every block begins at a multiple of this: a line of a processor's cache. */
const ALIGNMENT = 64;
/** Data of the modules lies below. */
const FIRST = PAGE;

/** A block of memory. */
export interface Block {
  readonly address: number;
  readonly bytes: number;
}

/** Blocks of one memory, which grows as they need it. */
export class WasmMemory {
  readonly memory: WebAssembly.Memory;
  /** Free blocks by address; no two touch. */
  readonly #free: { address: number; bytes: number }[] = [];
  #end = FIRST;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: FIRST / PAGE, maximum: MOST_PAGES, shared: true });
  }

  /** A block of zeros. @throws {LatentmeshError} `out_of_memory` */
  allocate(bytes: number, label: string): Block {
    const size = roundUp(Math.max(bytes, 1), ALIGNMENT);
    const at = this.#free.findIndex((block) => block.bytes >= size);
    if (at < 0) return { address: this.#extend(size, label), bytes: size };
    const block = this.#free[at];
    const { address } = block;
    if (block.bytes === size) this.#free.splice(at, 1);
    else {
      block.address += size;
      block.bytes -= size;
    }
    new Uint8Array(this.memory.buffer, address, size).fill(0);
    return { address, bytes: size };
  }

  /** Gives a block back. */
  free({ address, bytes }: Block): void {
    let at = this.#free.findIndex((block) => block.address > address);
    if (at < 0) at = this.#free.length;
    this.#free.splice(at, 0, { address, bytes });
    this.#join(at);
    if (at > 0) this.#join(at - 1);
  }

  /** Views of a block, of every element type; of whole words. */
  views({ address, bytes }: Block, used: number = bytes): HostBuffer {
    // They share memory with other threads, which for what reads them makes no difference.
    const memory = this.memory.buffer as unknown as ArrayBuffer;
    const words = roundUp(Math.max(used, 4), 4);
    return {
      f32: new Float32Array(memory, address, words / 4),
      u32: new Uint32Array(memory, address, words / 4),
      u16: new Uint16Array(memory, address, words / 2),
      f16: new Float16Array(memory, address, words / 2),
      u8: new Uint8Array(memory, address, words),
    };
  }

  #join(at: number): void {
    const [block, next] = [this.#free[at], this.#free[at + 1]];
    if (next === undefined || block.address + block.bytes !== next.address) return;
    block.bytes += next.bytes;
    this.#free.splice(at + 1, 1);
  }

  #extend(size: number, label: string): number {
    const address = this.#end;
    const end = address + size;
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / PAGE);
    if (missing > 0) {
      try {
        if (end > END) throw new RangeError("the last page stays free");
        this.memory.grow(missing);
      } catch (cause) {
        throw new LatentmeshError(
          "out_of_memory",
          `Cannot allocate ${size} bytes for ${label}: a WebAssembly memory has 4 GiB at most, of which ${address} bytes are taken; ${wasmAdvice()}`,
          { cause },
        );
      }
    }
    this.#end = end;
    return address;
  }
}

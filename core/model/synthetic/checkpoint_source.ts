/**
 * A `model.safetensors` that nobody has written: bytes are made when they are read.
 *
 * @module
 */
import type { ByteSource } from "../safetensors.ts";
import type { ModelSpec } from "../spec.ts";
import { type Made, madeTensors } from "./made_tensors.ts";

interface MadeTensor extends Made {
  /** Where it is among the data. */
  readonly begin: number;
  readonly end: number;
}

/** The file of a model in bfloat16, whose experts may have four bits. */
export class SyntheticSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #head: Uint8Array<ArrayBuffer>;
  readonly #tensors: readonly MadeTensor[];

  constructor(name: string, spec: ModelSpec, seed: number) {
    let end = 0;
    this.#tensors = madeTensors(spec, seed).map((made) => {
      const begin = end;
      end += made.shape.reduce((product, dimension) => product * dimension, made.elementBytes);
      return { ...made, begin, end };
    });
    this.name = name;
    this.#head = headOf(this.#tensors);
    this.size = this.#head.byteLength + end;
  }

  read(offset: number, length: number, bytes: Uint8Array<ArrayBuffer> = new Uint8Array(length)): Promise<Uint8Array<ArrayBuffer>> {
    const head = this.#head.subarray(Math.min(offset, this.#head.byteLength), offset + length);
    bytes.set(head);
    let at = head.byteLength;
    for (let i = this.#tensorAt(offset + at - this.#head.byteLength); at < length; i++) {
      const { begin, end, elementBytes, make } = this.#tensors[i];
      const from = offset + at - this.#head.byteLength;
      const to = Math.min(end, from + length - at);
      // Whole elements, of which the first and the last may be wanted by half.
      const range = { begin: Math.floor((from - begin) / elementBytes), end: Math.ceil((to - begin) / elementBytes) };
      const made = new Uint8Array(make(range).buffer);
      const skipped = from - begin - range.begin * elementBytes;
      bytes.set(made.subarray(skipped, skipped + to - from), at);
      at += to - from;
    }
    return Promise.resolve(bytes);
  }

  /** Index of the tensor that holds a byte of the data. */
  #tensorAt(byte: number): number {
    let [low, high] = [0, this.#tensors.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#tensors[middle].end > byte) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Length and header. */
function headOf(tensors: readonly MadeTensor[]): Uint8Array<ArrayBuffer> {
  const header = Object.fromEntries(tensors.map(({ name, dtype, shape, begin, end }) => [name, { dtype, shape, data_offsets: [begin, end] }]));
  const text = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + text.byteLength);
  new DataView(head.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  head.set(text, 8);
  return head;
}

/**
 * A `model.safetensors` that nobody has written: bytes are made when they are read.
 *
 * @module
 */
import type { ByteSource } from "../safetensors.ts";
import type { ModelSpec } from "../spec.ts";
import { tensorShapes } from "./tensor_shapes.ts";
import { syntheticElements } from "./weights.ts";

/** Bytes of an element. */
const ELEMENT = 2;

interface MadeTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Where it is among the data. */
  readonly begin: number;
  readonly end: number;
}

/** The file of a model in bfloat16. */
export class SyntheticSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #seed: number;
  readonly #head: Uint8Array<ArrayBuffer>;
  readonly #tensors: readonly MadeTensor[];

  constructor(name: string, spec: ModelSpec, seed: number) {
    let end = 0;
    this.#tensors = Array.from(tensorShapes(spec), ([name, shape]) => {
      const begin = end;
      end += shape.reduce((product, dimension) => product * dimension, ELEMENT);
      return { name, shape, begin, end };
    });
    this.name = name;
    this.#seed = seed;
    this.#head = headOf(this.#tensors);
    this.size = this.#head.byteLength + end;
  }

  read(offset: number, length: number, bytes: Uint8Array<ArrayBuffer> = new Uint8Array(length)): Promise<Uint8Array<ArrayBuffer>> {
    const head = this.#head.subarray(Math.min(offset, this.#head.byteLength), offset + length);
    bytes.set(head);
    let at = head.byteLength;
    for (let i = this.#tensorAt(offset + at - this.#head.byteLength); at < length; i++) {
      const { name, shape, begin, end } = this.#tensors[i];
      const from = offset + at - this.#head.byteLength;
      const to = Math.min(end, from + length - at);
      // Whole elements, of which the first and the last may be wanted by half.
      const range = { begin: Math.floor((from - begin) / ELEMENT), end: Math.ceil((to - begin) / ELEMENT) };
      const made = new Uint8Array(syntheticElements(this.#seed, name, shape, range).buffer);
      const skipped = from - begin - range.begin * ELEMENT;
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
  const header = Object.fromEntries(tensors.map(({ name, shape, begin, end }) => [name, { dtype: "BF16", shape, data_offsets: [begin, end] }]));
  const text = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + text.byteLength);
  new DataView(head.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  head.set(text, 8);
  return head;
}

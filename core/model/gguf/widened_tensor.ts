/**
 * Matrices of GGUF files that become others on their way to a device: blocks whose form no device holds, and keys' projections, which are stored the other way round.
 *
 * @module
 */
import type { Checkpoint, FileRange } from "../checkpoint.ts";
import { refuseTensor, requireTensorShape } from "../checkpoint.ts";
import { matrixLayout, unpackRow, viewsOf, type WeightFormat } from "../packing.ts";
import type { WidenedTensor } from "../widened.ts";
import { widenBlocks } from "./block_levels.ts";
import { isLatentUp, splitName } from "./stored_tensors.ts";
import { GGUF_TENSOR_TYPES, ggufBytes, type GgufTensorType, isBlockType } from "./tensor_types.ts";

/**
 * A matrix that must be widened; null if it need not be.
 *
 * @throws {LatentmeshError} `invalid_checkpoint` if tensors do not fit each other
 */
export function openWidened(checkpoint: Checkpoint, name: string, [rows, columns]: readonly [number, number]): WidenedTensor | null {
  if (checkpoint.has(name)) return isBlockType(checkpoint.info(name).dtype) ? new BlockRows(checkpoint, name, [rows, columns]) : null;
  if (!isLatentUp(name)) return null;
  const [keys, values] = [splitName(name, "keys"), splitName(name, "values")];
  return checkpoint.has(keys) && checkpoint.has(values) ? new SplitProjection(checkpoint, { keys, values }, [rows, columns]) : null;
}

/** The type of a tensor from a GGUF file. */
function typeOf(checkpoint: Checkpoint, name: string): GgufTensorType {
  const { dtype } = checkpoint.info(name);
  return Object.hasOwn(GGUF_TENSOR_TYPES, dtype)
    ? dtype as GgufTensorType
    : refuseTensor(checkpoint, name, `has dtype ${dtype}, which is not supported here`);
}

/** Values of what was read, whichever type it has. */
function widenAny(type: GgufTensorType, bytes: Uint8Array<ArrayBuffer>, into: Float32Array<ArrayBuffer>): void {
  if (isBlockType(type)) return widenBlocks(type, bytes, into);
  const views = viewsOf(bytes);
  unpackRow(matrixLayout(PLAIN_FORMATS[type], into.length), views, views, 0, into);
}

const PLAIN_FORMATS = { F32: "f32", F16: "f16", BF16: "bf16" } as const;

/** What holds all values of a type exactly. */
function exactFormat(type: GgufTensorType): WeightFormat {
  return isBlockType(type) ? "f32" : PLAIN_FORMATS[type];
}

/** A matrix in blocks. */
class BlockRows implements WidenedTensor {
  readonly kept = "f32";
  readonly #checkpoint: Checkpoint;
  readonly #name: string;
  readonly #type: GgufTensorType;
  readonly #rowBytes: number;

  constructor(checkpoint: Checkpoint, name: string, [rows, columns]: readonly [number, number]) {
    requireTensorShape(checkpoint, name, [rows, columns]);
    this.#checkpoint = checkpoint;
    this.#name = name;
    this.#type = typeOf(checkpoint, name);
    this.#rowBytes = ggufBytes(this.#type, columns);
  }

  ranges(begin: number, end: number): FileRange[] {
    return [this.#checkpoint.range(this.#name, begin * this.#rowBytes, end * this.#rowBytes)];
  }

  widen([bytes]: readonly Uint8Array<ArrayBuffer>[], _begin: number, _end: number, into: Float32Array<ArrayBuffer>): void {
    widenAny(this.#type, bytes, into);
  }
}

/** Rows of what makes keys and values of latents, where it is two tensors: each head's keys, the other way round, and its values. */
class SplitProjection implements WidenedTensor {
  readonly kept: WeightFormat;
  readonly #checkpoint: Checkpoint;
  readonly #keys: string;
  readonly #values: string;
  readonly #latents: number;
  readonly #keyWidth: number;
  readonly #valueWidth: number;

  constructor(
    checkpoint: Checkpoint,
    { keys, values }: { readonly keys: string; readonly values: string },
    [rows, columns]: readonly [number, number],
  ) {
    const [heads, latents, keyWidth] = checkpoint.info(keys).shape;
    const valueWidth = checkpoint.info(values).shape[1];
    if (latents !== columns || heads * (keyWidth + valueWidth) !== rows) {
      refuseTensor(
        checkpoint,
        keys,
        `has shape [${checkpoint.info(keys).shape.join(", ")}], which with values of ${valueWidth} is not ${rows} × ${columns}`,
      );
    }
    this.#checkpoint = checkpoint;
    this.#keys = keys;
    this.#values = values;
    this.#latents = latents;
    this.#keyWidth = keyWidth;
    this.#valueWidth = valueWidth;
    const [ofKeys, ofValues] = [keys, values].map((name) => exactFormat(typeOf(checkpoint, name)));
    this.kept = ofKeys === ofValues ? ofKeys : "f32";
  }

  ranges(begin: number, end: number): FileRange[] {
    return this.#parts(begin, end).map((part) => {
      const { name, first, elements } = part;
      const type = typeOf(this.#checkpoint, name);
      return this.#checkpoint.range(name, ggufBytes(type, first), ggufBytes(type, first + elements));
    });
  }

  widen(stored: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number, into: Float32Array<ArrayBuffer>): void {
    const latents = this.#latents;
    let to = 0;
    for (const [i, { name, elements, begin: from, end: until }] of this.#parts(begin, end).entries()) {
      const values = new Float32Array(elements);
      widenAny(typeOf(this.#checkpoint, name), stored[i], values);
      if (name === this.#values) into.set(values, to);
      else {
        for (let row = from; row < until; row++) {
          for (let latent = 0; latent < latents; latent++) into[to + (row - from) * latents + latent] = values[latent * this.#keyWidth + row];
        }
      }
      to += (until - from) * latents;
    }
  }

  /** What of which tensor some rows are in: of keys all of a head, of values these rows. */
  #parts(begin: number, end: number): SplitPart[] {
    const [width, latents] = [this.#keyWidth + this.#valueWidth, this.#latents];
    const parts: SplitPart[] = [];
    for (let row = begin; row < end;) {
      const [head, inHead] = [Math.floor(row / width), row % width];
      const isKey = inHead < this.#keyWidth;
      const until = Math.min(head * width + (isKey ? this.#keyWidth : width), end) - head * width;
      parts.push(
        isKey ? { name: this.#keys, first: head * latents * this.#keyWidth, elements: latents * this.#keyWidth, begin: inHead, end: until } : {
          name: this.#values,
          first: (head * this.#valueWidth + inHead - this.#keyWidth) * latents,
          elements: (until - inHead) * latents,
          begin: inHead,
          end: until,
        },
      );
      row = head * width + until;
    }
    return parts;
  }
}

interface SplitPart {
  readonly name: string;
  /** First element that is read, and how many are. */
  readonly first: number;
  readonly elements: number;
  /** Rows, as the head counts them. */
  readonly begin: number;
  readonly end: number;
}

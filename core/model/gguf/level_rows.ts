/**
 * Matrices in blocks as devices keep them: levels, scales, and zero points, which are the files' own.
 *
 * @module
 */
import { floatBits, halfBits } from "../../numeric.ts";
import { type Checkpoint, type FileRange, requireTensorShape } from "../checkpoint.ts";
import type { Int4Rows, Int4Tensor } from "../int4/int4_tensor.ts";
import type { Scaling } from "../packing.ts";
import { allocateLevels, BLOCK_FORMS, type BlockLevels, readLevels } from "./block_levels.ts";
import { isLatentUp } from "./stored_tensors.ts";
import { type GgufBlockType, ggufBytes, isBlockType } from "./tensor_types.ts";

/** A matrix in blocks; null if it is stored otherwise. @throws {LatentmeshError} `invalid_checkpoint` if it has another shape */
export function openLevels(checkpoint: Checkpoint, name: string, sizes: readonly [rows: number, columns: number]): Int4Tensor | null {
  // What makes keys and values of latents is little, and kernels of its own read it, of which none knows all of these forms.
  if (!checkpoint.has(name) || isLatentUp(name)) return null;
  const { dtype } = checkpoint.info(name);
  return isBlockType(dtype) ? new LevelRows(checkpoint, name, { type: dtype, sizes }) : null;
}

/** Rows of blocks. */
class LevelRows implements Int4Tensor {
  readonly format: "int4" | "int8";
  readonly group: number;
  readonly scaling: Scaling;
  readonly byRows = true;
  readonly #checkpoint: Checkpoint;
  readonly #name: string;
  readonly #type: GgufBlockType;
  readonly #columns: number;

  constructor(
    checkpoint: Checkpoint,
    name: string,
    { type, sizes }: { readonly type: GgufBlockType; readonly sizes: readonly [rows: number, columns: number] },
  ) {
    requireTensorShape(checkpoint, name, sizes);
    const { group, offsets, fourBits, halves } = BLOCK_FORMS[type];
    this.format = fourBits ? "int4" : "int8";
    this.group = group;
    this.scaling = offsets ? "f32-zero" : halves ? "f16" : "f32";
    this.#checkpoint = checkpoint;
    this.#name = name;
    this.#type = type;
    this.#columns = sizes[1];
  }

  ranges(begin: number, end: number): FileRange[] {
    const rowBytes = ggufBytes(this.#type, this.#columns);
    return [this.#checkpoint.range(this.#name, begin * rowBytes, end * rowBytes)];
  }

  rows([bytes]: readonly Uint8Array<ArrayBuffer>[], begin: number, end: number): Int4Rows {
    const read = allocateLevels(this.#type, (end - begin) * this.#columns);
    readLevels(this.#type, bytes, read);
    const scales = this.scaling === "f32-zero"
      ? withZeros(read, this.group)
      : Uint32Array.from(read.scales, this.scaling === "f16" ? halfBits : floatBits);
    // Those without offsets are stored plus 8, as all of four bits are.
    const levels = this.format === "int8" ? new Uint32Array(read.levels.buffer) : nibbles(read.levels, BLOCK_FORMS[this.#type].offsets ? 0 : 8);
    return { words: levels.length / (end - begin), levels, scales };
  }
}

/** Eight levels a word. */
function nibbles(levels: Int8Array, above: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(levels.length / 8);
  for (let word = 0, i = 0; word < words.length; word++) {
    let bits = 0;
    for (let shift = 0; shift < 32; shift += 4, i++) bits |= (levels[i] + above) << shift;
    words[word] = bits;
  }
  return words;
}

/**
 * Scales and zero points, (level − zero) · scale being level · scale + offset. Of a group without a scale, all levels become 0, which is a zero point of −1 above.
 */
function withZeros({ levels, scales, offsets }: BlockLevels, group: number): Uint32Array<ArrayBuffer> {
  const pairs = new Float32Array(2 * scales.length);
  for (let g = 0; g < scales.length; g++) {
    if (scales[g] === 0) levels.fill(0, g * group, (g + 1) * group);
    pairs[2 * g] = scales[g] === 0 ? offsets[g] : scales[g];
    pairs[2 * g + 1] = scales[g] === 0 ? -1 : -offsets[g] / scales[g];
  }
  return new Uint32Array(pairs.buffer);
}

/**
 * A checkpoint as a GGUF file, a piece at a time.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { Checkpoint, type ModelFiles } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { GGUF_ALIGNMENT } from "../../core/model/gguf/header.ts";
import { deepseek2Tensors, type GgufTensorSource } from "../../core/model/gguf/tensor_names.ts";
import { GGUF_TENSOR_TYPES, type GgufTensorType, isBlockType } from "../../core/model/gguf/tensor_types.ts";
import { MatrixSource, readMatrix } from "../../core/model/matrix_source.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { readVector } from "../../core/model/stored_vector.ts";
import { roundUp } from "../../core/numeric.ts";
import { ggufHead, type GgufTensor, ggufTensorBytes, type WrittenValue } from "./head.ts";
import { deepseek2Metadata, ropeMetadata } from "./metadata.ts";
import { referenceValues } from "./other_blocks.ts";
import { packBlocks } from "./pack_blocks.ts";
import { vocabularyMetadata } from "./vocabulary.ts";

/** Elements of a matrix that are converted at a time. */
const ELEMENTS_AT_ONCE = 1 << 22;

/** How a file is written. */
export interface GgufOptions {
  /** The tensors; those of llama.cpp's own converter by default. */
  readonly tensors?: (spec: ModelSpec) => readonly GgufTensorSource[];
  /** How a tensor is stored. */
  typeOf(source: GgufTensorSource): GgufTensorType;
  /** Bytes of whole rows of a tensor. */
  pack(type: GgufTensorType, values: Float32Array<ArrayBuffer>, source: GgufTensorSource): Uint8Array<ArrayBuffer>;
  /** Metadata on top of what the model says, or instead of it. */
  readonly metadata?: ReadonlyMap<string, WrittenValue>;
}

/**
 * The bytes of a file, in order. What architecture `deepseek2` cannot say is refused.
 *
 * @param weights how matrices are stored; rows that are not whole blocks are stored as llama.cpp's own quantisation does
 * @throws {LatentmeshError} `invalid_config` or `invalid_checkpoint`
 */
export function exportGguf(files: ModelFiles, weights: GgufTensorType): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return writeGguf(files, {
    typeOf: ({ shape, exact }) => exact ? "F32" : typeFor(weights, shape.at(-1)!),
    pack: packBlocks,
  });
}

/** The same file with what its weights stand for, in F32. @throws {LatentmeshError} `invalid_config` or `invalid_checkpoint` */
export function exportUnpacked(files: ModelFiles, weights: GgufTensorType): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return writeGguf(files, {
    typeOf: () => "F32",
    pack(_, values, { shape, exact }) {
      const type = exact ? "F32" : typeFor(weights, shape.at(-1)!);
      const packed = packBlocks(type, values);
      if (isBlockType(type)) return new Uint8Array(Float32Array.from(referenceValues(type, packed)).buffer);
      return packBlocks("F32", type === "F16" ? Float32Array.from(new Float16Array(packed.buffer)) : values);
    },
  });
}

/** The same, of any types and with any metadata. @throws {LatentmeshError} `invalid_config` or `invalid_checkpoint` */
export async function* writeGguf(
  files: ModelFiles,
  { tensors: sourcesOf = deepseek2Tensors, typeOf, pack, metadata }: GgufOptions,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const [config, tokenizer] = await Promise.all(["config.json", "tokenizer.json"].map((file) => files.text(file)));
  if (config === null || tokenizer === null) throw new LatentmeshError("not_found", `${files.name} holds no config.json or no tokenizer.json`);
  const spec = parseModelConfig(config, files.name);
  if (spec.rope.longRope !== null || !spec.rope.interleaved || spec.embeddingScale !== 1 || spec.moe?.shortcut || spec.moe?.outputNorm) {
    throw new LatentmeshError(
      "invalid_config",
      `Cannot write ${files.name} as GGUF: it extends its context by LongRoPE, scales what it computes with, or has experts beside dense blocks or with a norm`,
    );
  }
  const checkpoint = await Checkpoint.open(files);
  const sources = sourcesOf(spec);
  const tensors = sources.map((source): GgufTensor => ({ name: source.name, shape: source.shape, type: typeOf(source) }));
  const own = [...deepseek2Metadata(spec, files.name), ...ropeMetadata(config), ...vocabularyMetadata(tokenizer, spec)];
  yield ggufHead(new Map([...own, ...metadata ?? []]), tensors);
  for (const [i, source] of sources.entries()) {
    for await (const values of valuesOf(checkpoint, spec, source)) yield pack(tensors[i].type, values, source);
    const bytes = ggufTensorBytes(tensors[i]);
    yield new Uint8Array(roundUp(bytes, GGUF_ALIGNMENT) - bytes);
  }
}

/** What takes the place of types whose blocks have 256 values, where rows are not so many. */
const SMALLER_BLOCKS: Partial<Readonly<Record<GgufTensorType, GgufTensorType>>> = {
  Q2_K: "Q4_0",
  Q3_K: "Q4_0",
  Q4_K: "Q5_0",
  Q5_K: "Q5_1",
  Q6_K: "Q8_0",
};

function typeFor(weights: GgufTensorType, columns: number): GgufTensorType {
  const fits = (type: GgufTensorType) => columns % GGUF_TENSOR_TYPES[type].elements === 0;
  const smaller = SMALLER_BLOCKS[weights];
  return fits(weights) ? weights : smaller !== undefined && fits(smaller) ? smaller : "F16";
}

/** A tensor's values in order, some rows at a time. */
async function* valuesOf(checkpoint: Checkpoint, spec: ModelSpec, source: GgufTensorSource): AsyncGenerator<Float32Array<ArrayBuffer>> {
  const { shape, from, part } = source;
  if (shape.length === 1) return yield await readVector(checkpoint, from[0], shape[0]);
  const { fp8Block, heads, nopeWidth, valueWidth, latentWidth } = spec;
  const read = (name: string, [rows, columns]: readonly [number, number], begin: number, end: number) =>
    readMatrix(new MatrixSource(checkpoint, name, [rows, columns], { fp8Block, rows: [{ begin, end }] }));
  if (part !== null) {
    const perHead = nopeWidth + valueWidth;
    for (let head = 0; head < heads; head++) {
      const [begin, end] = part === "keys" ? [0, nopeWidth] : [nopeWidth, perHead];
      const rows = await read(from[0], [heads * perHead, latentWidth], head * perHead + begin, head * perHead + end);
      yield part === "keys" ? transposed(rows, nopeWidth, latentWidth) : rows;
    }
    return;
  }
  const columns = shape.at(-1)!;
  const rows = shape.slice(0, -1).reduce((product, dimension) => product * dimension, 1) / from.length;
  const step = Math.max(1, Math.floor(ELEMENTS_AT_ONCE / columns));
  for (const name of from) {
    for (let begin = 0; begin < rows; begin += step) yield await read(name, [rows, columns], begin, Math.min(begin + step, rows));
  }
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column];
  }
  return result;
}

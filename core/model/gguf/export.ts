/**
 * A checkpoint as a GGUF file, a piece at a time.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import { roundUp } from "../../numeric.ts";
import { Checkpoint, type ModelFiles } from "../checkpoint.ts";
import { parseModelConfig } from "../config.ts";
import { MatrixSource, readMatrix } from "../matrix_source.ts";
import type { ModelSpec } from "../spec.ts";
import { readVector } from "../stored_vector.ts";
import { packBlocks } from "./blocks.ts";
import { deepseek2Metadata, deepseek2Tensors, type GgufTensorSource } from "./deepseek2.ts";
import { GGUF_ALIGNMENT, GGUF_TENSOR_TYPES, ggufHead, type GgufTensor, ggufTensorBytes, type GgufTensorType } from "./format.ts";
import { vocabularyMetadata } from "./vocabulary.ts";

/** Elements of a matrix that are converted at a time. */
const ELEMENTS_AT_ONCE = 1 << 22;

/**
 * The bytes of a file, in order. What architecture `deepseek2` cannot say is refused.
 *
 * @param weights how matrices are stored; rows that are not whole blocks are stored in f16
 * @throws {LatentmeshError} `invalid_config` or `invalid_checkpoint`
 */
export async function* exportGguf(files: ModelFiles, weights: GgufTensorType): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const [config, tokenizer] = await Promise.all(["config.json", "tokenizer.json"].map((file) => files.text(file)));
  if (config === null || tokenizer === null) throw new LatentmeshError("not_found", `${files.name} holds no config.json or no tokenizer.json`);
  const spec = parseModelConfig(config, files.name);
  if (spec.rope.longRope !== null || spec.rope.yarn !== null || !spec.rope.interleaved || spec.queryScaling !== null || spec.embeddingScale !== 1) {
    throw new LatentmeshError("invalid_config", `Cannot write ${files.name} as GGUF: it extends its context or scales what it computes with`);
  }
  const checkpoint = await Checkpoint.open(files);
  const sources = deepseek2Tensors(spec);
  const tensors = sources.map(({ name, shape, exact }): GgufTensor => ({ name, shape, type: exact ? "f32" : typeFor(weights, shape.at(-1)!) }));
  yield ggufHead(new Map([...deepseek2Metadata(spec, files.name), ...vocabularyMetadata(tokenizer, spec)]), tensors);
  for (const [i, source] of sources.entries()) {
    for await (const values of valuesOf(checkpoint, spec, source)) yield packBlocks(tensors[i].type, values);
    const bytes = ggufTensorBytes(tensors[i]);
    yield new Uint8Array(roundUp(bytes, GGUF_ALIGNMENT) - bytes);
  }
}

function typeFor(weights: GgufTensorType, columns: number): GgufTensorType {
  return columns % GGUF_TENSOR_TYPES[weights].elements === 0 ? weights : "f16";
}

/** A tensor's values in order, some rows at a time. */
async function* valuesOf(checkpoint: Checkpoint, spec: ModelSpec, source: GgufTensorSource): AsyncGenerator<Float32Array<ArrayBuffer>> {
  const { shape, from, part } = source;
  const stored = from.map((name) => spec.tensorPrefix + name);
  if (shape.length === 1) return yield await readVector(checkpoint, stored[0], shape[0]);
  const { fp8Block, heads, nopeWidth, valueWidth, latentWidth } = spec;
  const read = (name: string, [rows, columns]: readonly [number, number], begin: number, end: number) =>
    readMatrix(new MatrixSource(checkpoint, name, [rows, columns], { fp8Block, rows: [{ begin, end }] }));
  if (part !== null) {
    const perHead = nopeWidth + valueWidth;
    for (let head = 0; head < heads; head++) {
      const [begin, end] = part === "keys" ? [0, nopeWidth] : [nopeWidth, perHead];
      const rows = await read(stored[0], [heads * perHead, latentWidth], head * perHead + begin, head * perHead + end);
      yield part === "keys" ? transposed(rows, nopeWidth, latentWidth) : rows;
    }
    return;
  }
  const [columns, rows] = shape.toReversed();
  const step = Math.max(1, Math.floor(ELEMENTS_AT_ONCE / columns));
  for (const name of stored) {
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

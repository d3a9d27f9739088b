/**
 * A checkpoint of DeepSeek-V2-Lite's sizes with as many layers as a number of bytes takes: bfloat16, in several files with an index, a tokenizer and a basis beside
 * them. Weights are random bits with a fixed exponent: written as fast as the disk is, finite, and no file system can fold them.
 *
 * @module
 */
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { modelHash } from "../../core/model/model_hash.ts";
import { configOf } from "../../core/model/synthetic/shapes.ts";
import { modelTensors } from "../../core/model/synthetic/model_tensors.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { chooseBasis } from "../../core/tpla/basis.ts";
import type { LayerStatistics } from "../../core/tpla/layer_basis.ts";
import { writeBasis } from "../../core/tpla/basis_file.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";

/** Most bytes of one file, about as V2-Lite's are. */
const FILE_BYTES = 8.6e9;

/** Bytes that are made up once and written again and again, each time from another place. */
const TEMPLATE_BYTES = 64 << 20;

/** What was written. */
export interface GeneratedCheckpoint {
  readonly totalBytes: number;
  readonly largestTensor: number;
  readonly layers: number;
  readonly tensors: number;
}

interface PlacedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** Writes a model directory of about `gigabytes`, two layers at least. */
export async function generateCheckpoint(directory: string, gigabytes: number): Promise<GeneratedCheckpoint> {
  const config = layersFor(gigabytes);
  const spec = parseModelConfig(config, directory);
  await Deno.writeTextFile(`${directory}/config.json`, config);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(new URL(`../../models/tiny-mla/${file}`, import.meta.url), `${directory}/${file}`);
  }
  const tensors = tensorsOf(spec);
  const template = randomWeights(TEMPLATE_BYTES);
  const weightMap: Record<string, string> = {};
  const shards = intoFiles(tensors);
  for (const [i, shard] of shards.entries()) {
    const file = `model-${`${i + 1}`.padStart(5, "0")}-of-${`${shards.length}`.padStart(5, "0")}.safetensors`;
    await writeShard(`${directory}/${file}`, shard, template);
    for (const { name } of shard) weightMap[name] = file;
  }
  await Deno.writeTextFile(`${directory}/model.safetensors.index.json`, JSON.stringify({ metadata: {}, weight_map: weightMap }));
  await writeSomeBasis(directory, config, spec);
  return {
    totalBytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    largestTensor: Math.max(...tensors.map(({ bytes }) => bytes)),
    layers: spec.layers,
    tensors: tensors.length,
  };
}

/** config.json with as many layers as come nearest to so many bytes. */
function layersFor(gigabytes: number): string {
  const bytesOf = (layers: number) => tensorsOf(parseModelConfig(configOf("v2-lite", layers), "v2-lite")).reduce((sum, { bytes }) => sum + bytes, 0);
  const perLayer = bytesOf(3) - bytesOf(2);
  const layers = 2 + Math.max(0, Math.round((gigabytes * 1e9 - bytesOf(2)) / perLayer));
  return JSON.stringify({ ...JSON.parse(configOf("v2-lite", layers)), bos_token_id: 0, eos_token_id: 1 });
}

/** In the order of their names, as published files are. */
function tensorsOf(spec: ModelSpec): PlacedTensor[] {
  return modelTensors(spec).map(({ name, shape }) => ({ name, shape, bytes: shape.reduce((a, b) => a * b, 2) }))
    .sort((a, b) => a.name < b.name ? -1 : 1);
}

function intoFiles(tensors: readonly PlacedTensor[]): PlacedTensor[][] {
  const files: PlacedTensor[][] = [];
  let left = 0;
  for (const tensor of tensors) {
    if (tensor.bytes > left || files.length === 0) {
      files.push([]);
      left = FILE_BYTES;
    }
    files.at(-1)!.push(tensor);
    left -= tensor.bytes;
  }
  return files;
}

async function writeShard(path: string, tensors: readonly PlacedTensor[], template: Uint8Array<ArrayBuffer>): Promise<void> {
  let offset = 0;
  const header = Object.fromEntries(
    tensors.map(({ name, shape, bytes }) => [name, { dtype: "BF16", shape, data_offsets: [offset, offset += bytes] }]),
  );
  const text = new TextEncoder().encode(JSON.stringify(header));
  const begin = new Uint8Array(8 + Math.ceil(text.byteLength / 8) * 8).fill(0x20);
  new DataView(begin.buffer).setBigUint64(0, BigInt(begin.byteLength - 8), true);
  begin.set(text, 8);
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  await write(file, begin);
  for (const { shape, bytes } of tensors) {
    if (shape.length === 1) await write(file, new Uint8Array(new Uint16Array(bytes / 2).fill(0x3f80).buffer));
    else await writeWeights(file, bytes, template);
  }
}

async function writeWeights(file: Deno.FsFile, bytes: number, template: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let left = bytes; left > 0;) {
    const from = (Math.floor(Math.random() * TEMPLATE_BYTES / 2) >> 1) * 2;
    const count = Math.min(left, TEMPLATE_BYTES - from);
    await write(file, template.subarray(from, from + count));
    left -= count;
  }
}

async function write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done));
}

/** bfloat16 of random sign and mantissa: sizes from 1/128 to 1/64. */
function randomWeights(bytes: number): Uint8Array<ArrayBuffer> {
  const weights = new Uint8Array(bytes);
  // As much as the platform gives at a time.
  for (let at = 0; at < bytes; at += 65536) crypto.getRandomValues(weights.subarray(at, at + 65536));
  const words = new Uint32Array(weights.buffer);
  for (let i = 0; i < words.length; i++) words[i] = (words[i] & 0x807f807f) | 0x3c003c00;
  return weights;
}

/** A basis that was made for nothing, so that a start does not calibrate: as large as a real one, and as much work to load. */
async function writeSomeBasis(directory: string, config: string, spec: ModelSpec): Promise<void> {
  using files = new DirectoryFiles(directory);
  const { latentWidth: width, layers } = spec;
  const basis = chooseBasis("hadamard", width, null);
  const identity = new Float64Array(width ** 2);
  for (let i = 0; i < width; i++) identity[i * (width + 1)] = 1;
  const statistics: LayerStatistics = { latents: identity, queries: identity, values: identity };
  const file = writeBasis({
    provenance: { modelHash: await modelHash(config, await Checkpoint.open(files)), textHash: "0".repeat(64), tokens: 0 },
    chosen: [],
    width,
    statistics: Array.from({ length: layers }, () => statistics),
    defaults: Array.from({ length: layers }, () => ({ ...basis, eigenvalues: new Float64Array(width).fill(1) })),
  });
  await Deno.writeFile(`${directory}/basis.safetensors`, file);
}

/**
 * A checkpoint: one safetensors file, or several named by `model.safetensors.index.json`, or what files of another kind hold under the same names. Opening it reads
 * headers only.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";
import type { GgufBlockType } from "./gguf/tensor_types.ts";
import { otherWeights } from "./other_contents.ts";
import { type ByteSource, readSafetensorsHeader, type SafetensorsDtype, type TensorInfo } from "./safetensors.ts";

/** Files of one model directory; injected, because core does no I/O. */
export interface ModelFiles {
  /** How the directory is named in errors. */
  readonly name: string;
  /** Opens a file by its name in the directory; null if there is none. */
  open(file: string): Promise<ByteSource | null>;
  /** Text of a file; null if there is none. */
  text(file: string): Promise<string | null>;
  /** Where there is no config.json: what there is instead, and what to do. */
  whatElse?(): Promise<string>;
  /** Names of the files, where they can be listed. */
  list?(): Promise<string[]>;
  /** Of models that nobody stored: what their weights are drawn with, see `core/model/synthetic`. */
  readonly seed?: number;
  /** The tensors, by their names in Hugging Face's form, of files of another kind. @throws {LatentmeshError} */
  tensors?(): Promise<ReadonlyMap<string, StoredTensor>>;
}

/** Some bytes of a file. */
export interface FileRange {
  readonly source: ByteSource;
  readonly offset: number;
  readonly bytes: number;
}

/** How elements of a tensor are stored. */
export type StoredDtype = SafetensorsDtype | GgufBlockType;

/** What one tensor is. */
export interface StoredInfo extends Omit<TensorInfo, "dtype"> {
  readonly dtype: StoredDtype;
}

/** A tensor, and the file that it is in. */
export interface StoredTensor extends StoredInfo {
  readonly source: ByteSource;
}

/** What weights are in where one file holds them all. */
export const SINGLE_FILE = "model.safetensors";
/** What says in which of several files a tensor is. */
export const INDEX_FILE = "model.safetensors.index.json";

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** The tensors of a model directory, readable by byte range. */
export class Checkpoint {
  readonly name: string;
  /** Of models that nobody stored: what their weights are drawn with. Reading makes them, and devices can make them, too. */
  readonly seed: number | null;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;

  private constructor({ name, seed }: ModelFiles, tensors: ReadonlyMap<string, StoredTensor>) {
    this.name = name;
    this.seed = seed ?? null;
    this.#tensors = tensors;
  }

  /**
   * Reads and checks the header of every file.
   *
   * @throws {LatentmeshError} `invalid_checkpoint` or `not_found`
   */
  static async open(files: ModelFiles): Promise<Checkpoint> {
    if (files.tensors !== undefined) return new Checkpoint(files, await files.tensors());
    const index = await files.text(INDEX_FILE);
    const source = await files.open(SINGLE_FILE);
    const shards = weightNames(index, source !== null, `${files.name}/${INDEX_FILE}`);
    if (shards !== null) return new Checkpoint(files, await openSharded(files, index!, shards));
    if (source === null) {
      throw new LatentmeshError(
        "not_found",
        `Cannot load ${files.name}: it holds neither ${SINGLE_FILE} nor ${INDEX_FILE}${await otherWeights(files)}`,
      );
    }
    return new Checkpoint(files, await tensorsOf(source));
  }

  /** Names of all tensors. */
  names(): IterableIterator<string> {
    return this.#tensors.keys();
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** @throws {LatentmeshError} `invalid_checkpoint` if there is no such tensor */
  info(name: string): StoredInfo {
    return this.#stored(name);
  }

  /** Bytes `begin … end` of a tensor. */
  read(name: string, begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return readRange(this.range(name, begin, end));
  }

  /** Where bytes `begin … end` of a tensor are; all of them by default. */
  range(name: string, begin: number = 0, end: number = this.#stored(name).bytes): FileRange {
    const { source, offset, bytes } = this.#stored(name);
    if (begin < 0 || end > bytes || begin > end) throw new RangeError(`bytes ${begin}…${end} of tensor "${name}", which has ${bytes}`);
    return { source, offset: offset + begin, bytes: end - begin };
  }

  #stored(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new LatentmeshError("invalid_checkpoint", `Cannot load model: tensor "${name}" is missing in ${this.name}`);
    return tensor;
  }
}

/** What is wrong with a tensor. @throws {LatentmeshError} `invalid_checkpoint` that says so */
export function refuseTensor(checkpoint: Checkpoint, name: string, problem: string): never {
  throw new LatentmeshError("invalid_checkpoint", `Cannot load model: tensor "${name}" in ${checkpoint.name} ${problem}`);
}

/** Refuses a tensor of another shape. @throws {LatentmeshError} `invalid_checkpoint` */
export function requireTensorShape(checkpoint: Checkpoint, name: string, shape: readonly number[]): void {
  const info = checkpoint.info(name);
  if (info.shape.join() === shape.join()) return;
  refuseTensor(checkpoint, name, `has shape [${info.shape.join(", ")}] where config.json implies [${shape.join(", ")}]`);
}

/** Reads a range. @param into where it goes; memory of its own by default */
export function readRange({ source, offset, bytes }: FileRange, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return source.read(offset, bytes, into);
}

async function tensorsOf(source: ByteSource): Promise<Map<string, StoredTensor>> {
  const { tensors } = await readSafetensorsHeader(source);
  return new Map([...tensors].map(([name, info]) => [name, { ...info, source }]));
}

async function openSharded(files: ModelFiles, indexText: string, names: readonly string[]): Promise<Map<string, StoredTensor>> {
  const weightMap = parseIndex(indexText, `${files.name}/${INDEX_FILE}`);
  const shards = new Map<string, Map<string, StoredTensor>>();
  for (const file of names) {
    const source = await files.open(file);
    if (source === null) throw new LatentmeshError("not_found", `Cannot load ${files.name}: ${file}, named by the index, is missing`);
    shards.set(file, await tensorsOf(source));
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, file] of Object.entries(weightMap)) {
    const tensor = shards.get(file)!.get(name);
    if (tensor === undefined) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load ${files.name}: the index places "${name}" in ${file}, which lacks it`);
    }
    tensors.set(name, tensor);
  }
  return tensors;
}

/**
 * The files that an index names. One that does not name {@link SINGLE_FILE}, where there is that, was left behind when the model was saved anew:
 * transformers takes the single file then, too.
 *
 * @param indexText of {@link INDEX_FILE}; null if there is none
 * @param where it is, as errors say it
 * @returns null if the weights are in the single file
 * @throws {LatentmeshError} `invalid_checkpoint` if one of them could lie elsewhere
 */
export function weightNames(indexText: string | null, hasSingle: boolean, where: string): string[] | null {
  if (indexText === null) return null;
  const names = [...new Set(Object.values(parseIndex(indexText, where)))];
  if (hasSingle && !names.includes(SINGLE_FILE)) return null;
  const strange = names.find((file) => !/^[\w.-]+\.safetensors$/.test(file));
  if (strange === undefined) return names;
  throw new LatentmeshError("invalid_checkpoint", `Cannot read ${where}: "${strange}" is not the name of a safetensors file beside it`);
}

function parseIndex(text: string, where: string): Record<string, string> {
  try {
    return indexSchema.parse(JSON.parse(text)).weight_map;
  } catch (cause) {
    throw new LatentmeshError("invalid_checkpoint", `Cannot read ${where}: it must be JSON with a "weight_map" of tensor names to file names`, {
      cause,
    });
  }
}

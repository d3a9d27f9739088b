/**
 * What a GGUF file begins with (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little endian: metadata, and which tensors lie where.
 * Every count, length and place is checked against the real length of the file before anything is allocated for it.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import { roundUp } from "../../numeric.ts";
import type { ByteSource } from "../safetensors.ts";
import { HeadCursor } from "./head_cursor.ts";
import { GGUF_TENSOR_TYPES, ggufBytes, ggufTensorType, typeName } from "./tensor_types.ts";
import type { GgufTensorType } from "./tensor_types.ts";

/** "GGUF" */
export const GGUF_MAGIC = 0x46554747;
/** Data and every tensor in it begin at a multiple of this, unless {@link ALIGNMENT_KEY} says otherwise. */
export const GGUF_ALIGNMENT = 32;
const ALIGNMENT_KEY = "general.alignment";

/** Numbers of the types of values. */
export const GGUF_VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

/** A value of the metadata. */
export type GgufValue = number | boolean | string | readonly number[] | readonly boolean[] | readonly string[];

/** One tensor of a file. */
export interface GgufTensorInfo {
  readonly type: GgufTensorType;
  /** As everywhere in Latentmesh, from the slowest dimension to the quickest; files have it the other way round. */
  readonly shape: readonly number[];
  /** Byte offset in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** The beginning of one file. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

/** Bounds of what is believed of a file. Counts are also bounded by its length. */
const MOST_KEYS = 1 << 16;
const MOST_TENSORS = 1 << 20;
const MOST_ELEMENTS = 1 << 23;
const MOST_NAME_BYTES = 1024;
const MOST_STRING_BYTES = 16 << 20;
const MOST_DIMENSIONS = 4;
const MOST_ALIGNMENT = 1 << 20;

/** Least bytes of a pair of key and value, and of a tensor's entry. */
const [LEAST_PAIR, LEAST_ENTRY] = [13, 24];

type Refuse = (problem: string) => never;

/** Reads and checks it. @throws {LatentmeshError} `invalid_checkpoint`, saying which rule is broken and where, or `unsupported` by name */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const refuse: Refuse = (problem) => {
    throw new LatentmeshError("invalid_checkpoint", `Cannot read ${source.name}: ${problem}`);
  };
  const cursor = new HeadCursor(source, refuse);
  await cursor.need(24, "its first 24 bytes");
  if (cursor.u32() !== GGUF_MAGIC) refuse("it does not begin with GGUF");
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    const what = version > 0xffff ? "is big endian" : `has version ${version} of the format`;
    throw new LatentmeshError("unsupported", `Cannot read ${source.name}: it ${what}; GGUF is read in versions 2 and 3, little endian`);
  }
  const [tensors, keys] = [cursor.u64(), cursor.u64()];
  if (tensors > MOST_TENSORS || tensors * LEAST_ENTRY > cursor.left) refuse(`it claims ${tensors} tensors`);
  if (keys > MOST_KEYS || keys * LEAST_PAIR > cursor.left) refuse(`it claims ${keys} keys of metadata`);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keys; i++) {
    const key = await cursor.string("a key of its metadata", MOST_NAME_BYTES);
    if (metadata.has(key)) refuse(`its metadata has "${key}" twice`);
    metadata.set(key, await readValue(cursor, `"${key}" in its metadata`, refuse));
  }
  const alignment = metadata.get(ALIGNMENT_KEY) ?? GGUF_ALIGNMENT;
  if (typeof alignment !== "number" || !(alignment >= 8 && alignment <= MOST_ALIGNMENT && alignment % 8 === 0)) {
    return refuse(`"${ALIGNMENT_KEY}" in its metadata is no multiple of 8 up to ${MOST_ALIGNMENT}`);
  }
  return { metadata, tensors: await readTensors(cursor, tensors, { alignment, size: source.size, name: source.name }, refuse) };
}

async function readValue(cursor: HeadCursor, what: string, refuse: Refuse): Promise<GgufValue> {
  await cursor.need(4, what);
  const type = cursor.u32();
  if (type !== GGUF_VALUE_TYPES.array) return await readScalar(cursor, type, what, refuse);
  await cursor.need(12, what);
  const [elementType, count] = [cursor.u32(), cursor.u64()];
  if (elementType === GGUF_VALUE_TYPES.string) {
    if (count > MOST_ELEMENTS || count * 8 > cursor.left) refuse(`${what} claims ${count} strings`);
    const strings: string[] = [];
    for (let i = 0; i < count; i++) strings.push(await cursor.string(what, MOST_STRING_BYTES));
    return strings;
  }
  const scalar = SCALARS[elementType];
  if (scalar === undefined) return refuse(`${what} is an array of type ${elementType}, which is none or is nested`);
  if (count > MOST_ELEMENTS || count * scalar.bytes > cursor.left) refuse(`${what} claims ${count} elements`);
  await cursor.need(count * scalar.bytes, what);
  const view = cursor.take(count * scalar.bytes);
  return Array.from({ length: count }, (_, i) => scalar.read(view, i * scalar.bytes)) as number[] | boolean[];
}

async function readScalar(cursor: HeadCursor, type: number, what: string, refuse: Refuse): Promise<GgufValue> {
  if (type === GGUF_VALUE_TYPES.string) return await cursor.string(what, MOST_STRING_BYTES);
  const scalar = SCALARS[type];
  if (scalar === undefined) return refuse(`${what} has the unknown type ${type}`);
  await cursor.need(scalar.bytes, what);
  return scalar.read(cursor.take(scalar.bytes), 0);
}

interface Scalar {
  readonly bytes: number;
  read(view: DataView, at: number): number | boolean;
}

const SCALARS: Readonly<Record<number, Scalar>> = {
  [GGUF_VALUE_TYPES.u8]: { bytes: 1, read: (view, at) => view.getUint8(at) },
  [GGUF_VALUE_TYPES.i8]: { bytes: 1, read: (view, at) => view.getInt8(at) },
  [GGUF_VALUE_TYPES.u16]: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  [GGUF_VALUE_TYPES.i16]: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  [GGUF_VALUE_TYPES.u32]: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  [GGUF_VALUE_TYPES.i32]: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  [GGUF_VALUE_TYPES.f32]: { bytes: 4, read: (view, at) => shortestFloat(view.getFloat32(at, true)) },
  [GGUF_VALUE_TYPES.bool]: { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 },
  [GGUF_VALUE_TYPES.u64]: { bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
  [GGUF_VALUE_TYPES.i64]: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  [GGUF_VALUE_TYPES.f64]: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/** The shortest decimal that is this float32: what config.json had, before it was rounded. */
function shortestFloat(value: number): number {
  for (let digits = 1; digits < 9 && Number.isFinite(value); digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}

async function readTensors(
  cursor: HeadCursor,
  count: number,
  { alignment, size, name: file }: { readonly alignment: number; readonly size: number; readonly name: string },
  refuse: Refuse,
): Promise<Map<string, GgufTensorInfo>> {
  const tensors = new Map<string, GgufTensorInfo>();
  for (let i = 0; i < count; i++) {
    const name = await cursor.string("a tensor's name", MOST_NAME_BYTES);
    const what = `tensor "${name}"`;
    if (tensors.has(name)) refuse(`it has ${what} twice`);
    await cursor.need(4, what);
    const dimensions = cursor.u32();
    if (dimensions < 1 || dimensions > MOST_DIMENSIONS) refuse(`${what} has ${dimensions} dimensions`);
    await cursor.need(dimensions * 8 + 12, what);
    const shape = Array.from({ length: dimensions }, () => cursor.u64()).reverse();
    const [code, offset] = [cursor.u32(), cursor.u64()];
    const type = ggufTensorType(code);
    if (type === null) {
      const supported = Object.keys(GGUF_TENSOR_TYPES).join(", ");
      throw new LatentmeshError("unsupported", `Cannot read ${file}: ${what} is stored as ${typeName(code)}; supported are ${supported}`);
    }
    const elements = shape.reduce((product, dimension) => product * dimension, 1);
    if (elements === 0 || !Number.isSafeInteger(elements * 4)) refuse(`${what} has the shape [${shape.join(", ")}]`);
    if (shape.at(-1)! % GGUF_TENSOR_TYPES[type].elements !== 0) refuse(`rows of ${what} (${shape.at(-1)}) are not whole blocks of ${type}`);
    if (offset % alignment !== 0) refuse(`${what} begins at ${offset}, which is no multiple of ${alignment}`);
    tensors.set(name, { type, shape, offset, bytes: ggufBytes(type, elements) });
  }
  return placed(tensors, roundUp(cursor.offset, alignment), size, refuse);
}

/** The same with places in the file, where no two may share a byte. */
function placed(tensors: ReadonlyMap<string, GgufTensorInfo>, dataStart: number, size: number, refuse: Refuse): Map<string, GgufTensorInfo> {
  let end = 0;
  for (const [name, { offset, bytes }] of [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (offset < end) refuse(`tensor "${name}" overlaps the one before it`);
    end = offset + bytes;
    if (dataStart + end > size) {
      refuse(`tensor "${name}" lies outside the file: it ends at byte ${dataStart + end} of ${size} (is the file truncated?)`);
    }
  }
  return new Map([...tensors].map(([name, info]) => [name, { ...info, offset: dataStart + info.offset }]));
}

/**
 * Reader of the safetensors format (https://github.com/huggingface/safetensors#format). Every rule of the format is checked against the real
 * length of the file before anything is handed out: a file that lies about itself is refused whole.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";

/** Random access to the bytes of a file. */
export interface ByteSource {
  /** How the source is named in errors. */
  readonly name: string;
  readonly size: number;
  /**
   * Reads exactly `length` bytes. Several reads may be under way.
   *
   * @param into where they go, as long as that; memory of their own by default
   * @returns where they are
   */
  read(offset: number, length: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
}

/** Bits per element of every dtype of the format. */
const DTYPE_BITS = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
} as const;

/** Element type of a stored tensor. */
export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** Where and what one tensor is. */
export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Byte offset in the file (not in the data section). */
  readonly offset: number;
  readonly bytes: number;
}

/** The parsed header of one file. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The largest header that is read, as in the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

/** Bytes per element of `dtype`. */
export function dtypeBytes(dtype: SafetensorsDtype): number {
  return DTYPE_BITS[dtype] / 8;
}

/**
 * Reads and checks the header of a safetensors file.
 *
 * @throws {LatentmeshError} `invalid_checkpoint`, saying which rule is broken and where
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const refuse = (problem: string): never => {
    throw new LatentmeshError("invalid_checkpoint", `Cannot read ${source.name}: ${problem}`);
  };
  if (source.size < 8) refuse(`it is ${source.size} bytes long, too short for a safetensors header`);
  const headerBytes = Number(new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true));
  if (headerBytes > MAX_HEADER_BYTES) refuse(`its header claims ${headerBytes} bytes, over the limit of ${MAX_HEADER_BYTES}`);
  if (8 + headerBytes > source.size) refuse(`it is truncated: the header needs ${8 + headerBytes} bytes, the file has ${source.size}`);
  const text = decodeHeader(await source.read(8, headerBytes), refuse);
  const entries = parseHeaderJson(text, refuse);

  const dataStart = 8 + headerBytes;
  const dataBytes = source.size - dataStart;
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of entries) {
    if (name === "__metadata__") {
      const parsed = z.record(z.string(), z.string()).safeParse(value);
      if (!parsed.success) refuse("__metadata__ must map strings to strings");
      metadata = parsed.data!;
    } else {
      tensors.set(name, checkEntry(name, value, dataStart, dataBytes, refuse));
    }
  }
  checkCoverage(tensors, dataStart, source.size, refuse);
  return { tensors, metadata };
}

type Refuse = (problem: string) => never;

function decodeHeader(bytes: Uint8Array, refuse: Refuse): string {
  if (bytes[0] !== 0x7b) refuse("its header does not begin with {");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse("its header is not UTF-8");
  }
}

/** `JSON.parse` keeps the last of two equal keys without a word, so keys are also counted as they are written. */
function parseHeaderJson(text: string, refuse: Refuse): [string, unknown][] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return refuse("its header is not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return refuse("its header is not a JSON object");
  // There may be a million tensors: only where fewer keys are left than were written is it looked which.
  if (keysWritten(text) !== keysIn(parsed)) { for (const key of repeatedKeys(text)) refuse(`its header has "${key}" twice`); }
  return Object.entries(parsed);
}

/** Keys of all objects in a JSON text already known to be valid. */
function keysWritten(text: string): number {
  let keys = 0;
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) if (colon !== undefined) keys++;
  return keys;
}

/** Keys of all objects in a value, however deep they are. */
function keysIn(value: object): number {
  let keys = 0;
  for (const rest = [value]; rest.length > 0;) {
    const one = rest.pop()!;
    const values: unknown[] = Object.values(one);
    if (!Array.isArray(one)) keys += values.length;
    for (const inner of values) if (typeof inner === "object" && inner !== null) rest.push(inner);
  }
  return keys;
}

/** Keys that an object of a JSON text already known to be valid has twice. */
function* repeatedKeys(text: string): Generator<string> {
  const open: (Set<string> | null)[] = [];
  let expectKey = false;
  for (const { 0: token } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],]/g)) {
    if (token === "{" || token === "[") {
      open.push(token === "{" ? new Set() : null);
      expectKey = token === "{";
    } else if (token === "}" || token === "]") {
      open.pop();
      expectKey = false;
    } else if (token === ",") {
      expectKey = open.at(-1) !== null;
    } else if (expectKey) {
      const [key, keys]: [string, Set<string>] = [JSON.parse(token), open.at(-1)!];
      if (keys.has(key)) yield key;
      keys.add(key);
      expectKey = false;
    }
  }
}

function checkEntry(name: string, value: unknown, dataStart: number, dataBytes: number, refuse: Refuse): TensorInfo {
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) return refuse(`the entry of tensor "${name}" is malformed: ${z.prettifyError(parsed.error)}`);
  const { dtype, shape, data_offsets: [begin, end] } = parsed.data;
  if (!Object.hasOwn(DTYPE_BITS, dtype)) return refuse(`tensor "${name}" has the unknown dtype "${dtype}"`);
  const known = dtype as SafetensorsDtype;
  const bytes = shape.reduce((product, dimension) => product * dimension, dtypeBytes(known));
  if (!Number.isSafeInteger(bytes)) return refuse(`the shape of tensor "${name}" overflows: [${shape.join(", ")}]`);
  if (begin > end || end > dataBytes) {
    return refuse(`tensor "${name}" lies outside the file: bytes ${begin}…${end} of ${dataBytes} (is the file truncated?)`);
  }
  if (end - begin !== bytes) return refuse(`tensor "${name}" is ${end - begin} bytes long, but ${dtype} [${shape.join(", ")}] takes ${bytes}`);
  return { dtype: known, shape, offset: dataStart + begin, bytes };
}

/** The tensors must tile the data section: no overlap, no gap, nothing after the last. */
function checkCoverage(tensors: Map<string, TensorInfo>, dataStart: number, fileBytes: number, refuse: Refuse): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  for (const [name, info] of ordered) {
    if (info.offset < end) refuse(`tensor "${name}" overlaps the one before it`);
    if (info.offset > end) refuse(`there is a gap of ${info.offset - end} bytes before tensor "${name}"`);
    end = info.offset + info.bytes;
  }
  if (end !== fileBytes) refuse(`${fileBytes - end} bytes after the last tensor belong to nothing`);
}

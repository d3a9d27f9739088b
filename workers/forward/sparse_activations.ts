/**
 * Working memory of sparse attention, and how much of it a step needs.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { IndexerSpec, ModelSpec } from "../../core/model/spec.ts";
import { roundUp } from "../../core/numeric.ts";
import { chosenBits } from "../../kernels/choose_tokens/choose_tokens.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import { type CacheConfig, cacheTokenBytes, cacheWidth } from "../../kernels/latent_cache/layout.ts";
import type { SparsePrefillWay } from "./sparse_way.ts";

/** Rows that are scored at a time: enough to keep a device busy. And most bytes of their scores, unless those of one row are more. */
const SCORE_ROWS = 128;
const SCORE_BYTES = 64 << 20;

/** Working memory of sparse attention. */
export interface SparseActivations {
  /** [rows, heads, width], [rows, width], [rows, heads]; f32. */
  readonly queries: DeviceBuffer;
  readonly keys: DeviceBuffer;
  readonly headWeights: DeviceBuffer;
  /** Scores of so many rows at a time: [score rows, positions]. */
  readonly scoreRows: number;
  readonly scores: DeviceBuffer;
  /** What is chosen stays until another layer chooses: [prefill rows, bit words] bits, [decode rows, room] slots. */
  readonly bits: DeviceBuffer;
  readonly bitWords: number;
  readonly slots: DeviceBuffer;
  /** Latents of what is chosen, [decode rows, room] slots of a cache, and the block tables under which decode finds them. */
  readonly latents: DeviceBuffer;
  readonly tables: DeviceBuffer;
  /** Of prefill rows that attend to nothing but what was chosen; null where none does. */
  readonly prefill: SparsePrefillMemory | null;
}

/** What they need. */
export interface SparsePrefillMemory {
  /** What was chosen for them, [prefill rows, stride]; that, too, stays. */
  readonly slots: DeviceBuffer;
  readonly stride: number;
  /** Absorbed queries of as many as attend at a time, [rows, heads, width of a slot], and what they come to, [rows, heads, columns that are values]; f16. */
  readonly queries: DeviceBuffer;
  readonly sums: DeviceBuffer;
  /** Key projections, [d_c, heads, d_n], and latents that are expanded to them, each a row of a unit matrix; f16. */
  readonly keyUp: DeviceBuffer;
  readonly identity: DeviceBuffer;
}

/** Slots of one row's chosen latents: whole blocks. */
export function chosenRoom({ topTokens }: IndexerSpec, maxContext: number): number {
  return roundUp(Math.min(topTokens, maxContext), BLOCK_TOKENS);
}

/** Allocates it. @throws {LatentmeshError} `out_of_memory` */
export function createSparseActivations(
  device: Device,
  { indexer }: Pick<ModelSpec, "indexer">,
  limits: { readonly prefillRows: number; readonly decodeRows: number },
  { cache, maxContext, way }: { readonly cache: CacheConfig; readonly maxContext: number; readonly way: SparsePrefillWay | null },
): SparseActivations | null {
  if (indexer === null) return null;
  const { heads, width } = indexer;
  const rows = Math.max(limits.prefillRows, limits.decodeRows);
  const scoreRows = Math.min(rows, SCORE_ROWS, Math.max(1, Math.floor(SCORE_BYTES / (maxContext * 4))));
  const room = chosenRoom(indexer, maxContext);
  const slots = limits.decodeRows * room;
  checkBinding(device, limits.decodeRows, room, cacheTokenBytes(cache));
  const words = (label: string, count: number) => device.createBuffer(label, count * 4);
  const tables = words("tables of chosen tokens", slots / BLOCK_TOKENS);
  if (!device.onlyCounts) device.write(tables, 0, Uint32Array.from({ length: slots / BLOCK_TOKENS }, (_, block) => block));
  const bitWords = chosenBits(Math.min(maxContext, way?.from ?? Infinity));
  return {
    queries: words("index queries", rows * heads * width),
    keys: words("index keys", rows * width),
    headWeights: words("weights of index heads", rows * heads),
    scoreRows,
    scores: words("index scores", scoreRows * maxContext),
    bits: words("chosen tokens of a chunk, as bits", limits.prefillRows * bitWords),
    bitWords,
    slots: words("chosen tokens", slots),
    latents: device.createBuffer("chosen latents", slots * cacheTokenBytes(cache)),
    tables,
    prefill: way === null ? null : createPrefill(device, way, { prefillRows: limits.prefillRows, stride: room }),
  };
}

function createPrefill(
  device: Device,
  { rows, absorb: { heads, nopeWidth, queries: { keyWidth, ropeWidth } }, valueWidth }: SparsePrefillWay,
  { prefillRows, stride }: { readonly prefillRows: number; readonly stride: number },
): SparsePrefillMemory {
  const halves = (label: string, count: number) => device.createBuffer(label, count * 2);
  const identity = halves("unit matrix", keyWidth * keyWidth);
  if (!device.onlyCounts) {
    device.write(identity, 0, Float16Array.from({ length: keyWidth * keyWidth }, (_, i) => i % (keyWidth + 1) === 0 ? 1 : 0));
  }
  return {
    slots: device.createBuffer("chosen tokens of a chunk", prefillRows * stride * 4),
    stride,
    queries: halves("absorbed queries of a chunk", rows * heads * cacheWidth({ keyWidth, ropeWidth })),
    sums: halves("sums of chosen latents", rows * heads * valueWidth),
    keyUp: halves("key projections", keyWidth * heads * nopeWidth),
    identity,
  };
}

/** @throws {LatentmeshError} `out_of_memory` if a kernel cannot see what the rows of a step attend to */
function checkBinding({ limits: { maxBindingBytes } }: Device, rows: number, room: number, tokenBytes: number): void {
  if (rows * room * tokenBytes <= maxBindingBytes) return;
  const most = Math.floor(maxBindingBytes / (room * tokenBytes));
  throw new LatentmeshError(
    "out_of_memory",
    `The ${room} tokens that each of ${rows} rows of a step attends to need ${
      rows * room * tokenBytes
    } bytes, but this device binds at most ${maxBindingBytes}: enough for ${most} rows; lower --max-batch`,
    { param: "decode.maxBatch" },
  );
}

/**
 * Tokens that are scored for the rows of a step, rounded up to a power of two, so that few kinds of steps differ in it; 0 where no row has more tokens before it than
 * it may attend to.
 */
export function scoredTokens({ rows }: { readonly rows: readonly { readonly position: number }[] }, { topTokens }: IndexerSpec): number {
  const most = rows.reduce((most, { position }) => Math.max(most, position + 1), 0);
  return most <= topTokens ? 0 : 2 ** Math.ceil(Math.log2(most));
}

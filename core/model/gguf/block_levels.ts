/**
 * Blocks of quantised weights as levels, small integers, each times a scale, plus an offset: what all of llama.cpp's types that are read here come to. Nothing is
 * rounded: scales of k-quants, which are a half times an integer of six or eight bits, are exact in float32.
 *
 * @module
 */
import { F16_VALUES } from "../../numeric.ts";
import { GGUF_TENSOR_TYPES, type GgufBlockType } from "./tensor_types.ts";

/** Rows of levels. */
export interface BlockLevels {
  /** [elements] */
  readonly levels: Int8Array<ArrayBuffer>;
  /** [elements / group] */
  readonly scales: Float32Array<ArrayBuffer>;
  /** The same; of types without offsets, zeros. */
  readonly offsets: Float32Array<ArrayBuffer>;
}

/** What is said of a type besides the size of its blocks. */
export interface BlockForm {
  /** Elements that share a scale. */
  readonly group: number;
  readonly offsets: boolean;
  /** Whether levels have four bits at most: −8 … 7, or with offsets 0 … 15. */
  readonly fourBits: boolean;
  /** Whether scales are halves as they are. */
  readonly halves: boolean;
}

const form = (group: number, form: Partial<BlockForm> = {}): BlockForm => ({ offsets: false, fourBits: false, halves: false, ...form, group });

/** By type. */
export const BLOCK_FORMS: Readonly<Record<GgufBlockType, BlockForm>> = {
  Q4_0: form(32, { fourBits: true, halves: true }),
  Q4_1: form(32, { fourBits: true, offsets: true }),
  Q5_0: form(32, { halves: true }),
  Q5_1: form(32, { offsets: true }),
  Q8_0: form(32, { halves: true }),
  Q2_K: form(16, { fourBits: true, offsets: true }),
  Q3_K: form(16, { fourBits: true }),
  Q4_K: form(32, { fourBits: true, offsets: true }),
  Q5_K: form(32, { offsets: true }),
  Q6_K: form(16),
};

/** Space for so many elements. */
export function allocateLevels(type: GgufBlockType, elements: number): BlockLevels {
  const groups = elements / BLOCK_FORMS[type].group;
  return { levels: new Int8Array(elements), scales: new Float32Array(groups), offsets: new Float32Array(groups) };
}

/** Takes blocks apart. @param bytes whole blocks @param into space for what is in them */
export function readLevels(type: GgufBlockType, bytes: Uint8Array, into: BlockLevels): void {
  const { elements, bytes: blockBytes } = GGUF_TENSOR_TYPES[type];
  const { group } = BLOCK_FORMS[type];
  const read = READERS[type];
  for (let at = 0, first = 0; at < bytes.byteLength; at += blockBytes, first += elements) read(bytes, at, into, first, first / group);
}

/** Levels of `bytes` from `at` on; the block's first element, and its first group. */
type Reader = (bytes: Uint8Array, at: number, into: BlockLevels, first: number, group: number) => void;

function half(bytes: Uint8Array, at: number): number {
  return F16_VALUES[bytes[at] | bytes[at + 1] << 8];
}

/** Sixteen bytes of nibbles, low ones before high ones, with a fifth bit of each in the word before them if there is one. */
function nibbles(bytes: Uint8Array, at: number, { levels }: BlockLevels, first: number, below: number, fifthAt: number | null = null): void {
  const fifth = fifthAt === null ? 0 : bytes[fifthAt] | bytes[fifthAt + 1] << 8 | bytes[fifthAt + 2] << 16 | bytes[fifthAt + 3] << 24;
  for (let i = 0; i < 16; i++) {
    levels[first + i] = (bytes[at + i] & 15 | (fifth >>> i & 1) << 4) - below;
    levels[first + 16 + i] = (bytes[at + i] >> 4 | (fifth >>> (i + 16) & 1) << 4) - below;
  }
}

const READERS: Readonly<Record<GgufBlockType, Reader>> = {
  Q4_0(bytes, at, into, first, group) {
    into.scales[group] = half(bytes, at);
    nibbles(bytes, at + 2, into, first, 8);
  },
  Q4_1(bytes, at, into, first, group) {
    into.scales[group] = half(bytes, at);
    into.offsets[group] = half(bytes, at + 2);
    nibbles(bytes, at + 4, into, first, 0);
  },
  Q5_0(bytes, at, into, first, group) {
    into.scales[group] = half(bytes, at);
    nibbles(bytes, at + 6, into, first, 16, at + 2);
  },
  Q5_1(bytes, at, into, first, group) {
    into.scales[group] = half(bytes, at);
    into.offsets[group] = half(bytes, at + 2);
    nibbles(bytes, at + 8, into, first, 0, at + 4);
  },
  Q8_0(bytes, at, into, first, group) {
    into.scales[group] = half(bytes, at);
    for (let i = 0; i < 32; i++) into.levels[first + i] = bytes[at + 2 + i];
  },
  Q2_K(bytes, at, into, first, group) {
    const [scale, least] = [half(bytes, at + 80), half(bytes, at + 82)];
    for (let g = 0; g < 16; g++) {
      into.scales[group + g] = scale * (bytes[at + g] & 15);
      into.offsets[group + g] = -least * (bytes[at + g] >> 4);
    }
    crumbs(bytes, at + 16, into.levels, first);
  },
  Q3_K(bytes, at, into, first, group) {
    const scale = half(bytes, at + 108);
    const packed = at + 96;
    for (let g = 0; g < 16; g++) {
      const low = g < 8 ? bytes[packed + g] & 15 : bytes[packed + g - 8] >> 4;
      const high = bytes[packed + 8 + g % 4] >> (g >> 2) * 2 & 3;
      into.scales[group + g] = scale * ((low | high << 4) - 32);
    }
    crumbs(bytes, at + 32, into.levels, first);
    // A third bit, which is set where nothing is subtracted.
    for (let i = 0; i < 256; i++) if ((bytes[at + i % 32] >> (i >> 5) & 1) === 0) into.levels[first + i] -= 4;
  },
  Q4_K(bytes, at, into, first, group) {
    superScales(bytes, at, into, group);
    for (let i = 0; i < 128; i++) {
      const to = first + (i >> 5) * 64 + i % 32;
      into.levels[to] = bytes[at + 16 + i] & 15;
      into.levels[to + 32] = bytes[at + 16 + i] >> 4;
    }
  },
  Q5_K(bytes, at, into, first, group) {
    superScales(bytes, at, into, group);
    for (let i = 0; i < 128; i++) {
      const to = first + (i >> 5) * 64 + i % 32;
      const fifths = bytes[at + 16 + i % 32] >> (i >> 5) * 2;
      into.levels[to] = bytes[at + 48 + i] & 15 | (fifths & 1) << 4;
      into.levels[to + 32] = bytes[at + 48 + i] >> 4 | (fifths >> 1 & 1) << 4;
    }
  },
  Q6_K(bytes, at, into, first, group) {
    const scale = half(bytes, at + 208);
    for (let g = 0; g < 16; g++) into.scales[group + g] = scale * (bytes[at + 192 + g] << 24 >> 24);
    for (let i = 0; i < 64; i++) {
      // Halves of 128 elements, each of four runs of 32.
      const [part, l] = [i >> 5, i % 32];
      const [high, to, low] = [bytes[at + 128 + i], first + part * 128 + l, at + part * 64 + l];
      into.levels[to] = (bytes[low] & 15 | (high & 3) << 4) - 32;
      into.levels[to + 32] = (bytes[low + 32] & 15 | (high >> 2 & 3) << 4) - 32;
      into.levels[to + 64] = (bytes[low] >> 4 | (high >> 4 & 3) << 4) - 32;
      into.levels[to + 96] = (bytes[low + 32] >> 4 | (high >> 6) << 4) - 32;
    }
  },
};

/** 64 bytes of four levels of two bits, in halves of 128 elements, each of four runs of 32. */
function crumbs(bytes: Uint8Array, at: number, levels: Int8Array, first: number): void {
  for (let i = 0; i < 256; i++) levels[first + i] = bytes[at + (i >> 7) * 32 + i % 32] >> (i >> 5 & 3) * 2 & 3;
}

/** Halves for scales and for offsets, and behind them eight integers of six bits for each. */
function superScales(bytes: Uint8Array, at: number, { scales, offsets }: BlockLevels, group: number): void {
  const [scale, least] = [half(bytes, at), half(bytes, at + 2)];
  const packed = at + 4;
  for (let g = 0; g < 4; g++) {
    const [a, b, c] = [bytes[packed + g], bytes[packed + 4 + g], bytes[packed + 8 + g]];
    scales[group + g] = scale * (a & 63);
    offsets[group + g] = -least * (b & 63);
    scales[group + 4 + g] = scale * (c & 15 | a >> 6 << 4);
    offsets[group + 4 + g] = -least * (c >> 4 | b >> 6 << 4);
  }
}

/** Values of whole blocks. @param into as many floats */
export function widenBlocks(type: GgufBlockType, bytes: Uint8Array, into: Float32Array): void {
  const read = allocateLevels(type, into.length);
  readLevels(type, bytes, read);
  const { group } = BLOCK_FORMS[type];
  for (let first = 0, g = 0; first < into.length; first += group, g++) {
    const [scale, offset] = [read.scales[g], read.offsets[g]];
    for (let i = first; i < first + group; i++) into[i] = read.levels[i] * scale + offset;
  }
}

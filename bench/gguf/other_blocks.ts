/**
 * Blocks of llama.cpp's types as its structures are published (ggml-common.h): written plainly, and read value by value in float64. Nothing is shared with what the
 * project reads them by.
 *
 * @module
 */
import type { GgufBlockType } from "../../core/model/gguf/tensor_types.ts";

/** Fields of a block of 256, or of 32, values. */
interface Form {
  readonly bytes: number;
  readonly values: number;
  /** Writes a block. */
  write(values: Float32Array, block: DataView): void;
  /** Value `i` of a block. */
  read(block: DataView, i: number): number;
}

const half = (block: DataView, at: number) => block.getFloat16(at, true);

/** A scale and a least value of levels 0 … most. */
function range(values: Float32Array, most: number): { scale: number; least: number } {
  let [low, high] = [0, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { scale: (high - low) / most, least: low };
}

function largestOf(values: Float32Array): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest;
}

const level = (value: number, scale: number, least: number, most: number) =>
  scale === 0 ? 0 : Math.min(most, Math.max(0, Math.round((value - least) / scale)));

/** Levels of `bits` bits with one scale, those with a least value from it on, others around the middle. */
function small(bits: 4 | 5, hasLeast: boolean): Form {
  const at = { least: 2, fifth: hasLeast ? 4 : 2, levels: (hasLeast ? 4 : 2) + (bits === 5 ? 4 : 0) };
  const middle = 1 << (bits - 1);
  return {
    bytes: at.levels + 16,
    values: 32,
    write(values, block) {
      const largest = largestOf(values);
      const { scale, least } = hasLeast ? range(values, 2 * middle - 1) : { scale: largest / (middle - 1), least: -largest / (middle - 1) * middle };
      block.setFloat16(0, scale, true);
      if (hasLeast) block.setFloat16(at.least, least, true);
      let fifths = 0;
      values.forEach((value, i) => {
        const of = level(value, scale, least, 2 * middle - 1);
        const place = at.levels + i % 16;
        block.setUint8(place, block.getUint8(place) | (of & 15) << (i < 16 ? 0 : 4));
        if (of >= 16) fifths += 2 ** i;
      });
      if (bits === 5) block.setUint32(at.fifth, fifths, true);
    },
    read(block, i) {
      const nibble = i < 16 ? block.getUint8(at.levels + i) % 16 : Math.floor(block.getUint8(at.levels + i - 16) / 16);
      const fifth = bits === 5 ? Math.floor(block.getUint32(at.fifth, true) / 2 ** i) % 2 : 0;
      const of = nibble + 16 * fifth;
      return hasLeast ? half(block, 0) * of + half(block, at.least) : half(block, 0) * (of - middle);
    },
  };
}

/** Six bits each of eight scales and eight least values in twelve bytes. */
function sixBits(block: DataView, g: number): { scale: number; least: number } {
  const byte = (i: number) => block.getUint8(4 + i);
  if (g < 4) return { scale: byte(g) % 64, least: byte(g + 4) % 64 };
  return {
    scale: byte(g + 4) % 16 + 16 * Math.floor(byte(g - 4) / 64),
    least: Math.floor(byte(g + 4) / 16) + 16 * Math.floor(byte(g) / 64),
  };
}

function writeSixBits(block: DataView, g: number, { scale, least }: { scale: number; least: number }): void {
  const or = (i: number, bits: number) => block.setUint8(4 + i, block.getUint8(4 + i) | bits);
  if (g < 4) {
    or(g, scale);
    or(g + 4, least);
    return;
  }
  or(g + 4, scale % 16 + 16 * (least % 16));
  or(g - 4, 64 * Math.floor(scale / 16));
  or(g, 64 * Math.floor(least / 16));
}

/** Q4_K, and Q5_K with a fifth bit of each. */
function kQuant(bits: 4 | 5): Form {
  const levelsAt = bits === 4 ? 16 : 48;
  const most = 2 ** bits - 1;
  const placeOf = (i: number) => ({ at: levelsAt + Math.floor(i / 64) * 32 + i % 32, high: Math.floor(i / 32) % 2 === 1 });
  return {
    bytes: levelsAt + 128,
    values: 256,
    write(values, block) {
      const groups = Array.from({ length: 8 }, (_, g) => range(values.subarray(g * 32, g * 32 + 32), most));
      const [scale, least] = [Math.max(...groups.map(({ scale }) => scale)) / 63, Math.max(...groups.map(({ least }) => -least)) / 63];
      block.setFloat16(0, scale, true);
      block.setFloat16(2, least, true);
      groups.forEach((group, g) => {
        const six = { scale: Math.round(scale === 0 ? 0 : group.scale / scale), least: Math.round(least === 0 ? 0 : -group.least / least) };
        writeSixBits(block, g, six);
        for (let i = g * 32; i < g * 32 + 32; i++) {
          const of = level(values[i], half(block, 0) * six.scale, -half(block, 2) * six.least, most);
          const { at, high } = placeOf(i);
          block.setUint8(at, block.getUint8(at) | of % 16 << (high ? 4 : 0));
          if (bits === 5) block.setUint8(16 + i % 32, block.getUint8(16 + i % 32) | (of >> 4) << g);
        }
      });
    },
    read(block, i) {
      const { scale, least } = sixBits(block, Math.floor(i / 32));
      const { at, high } = placeOf(i);
      const nibble = high ? Math.floor(block.getUint8(at) / 16) : block.getUint8(at) % 16;
      const fifth = bits === 5 ? Math.floor(block.getUint8(16 + i % 32) / 2 ** Math.floor(i / 32)) % 2 : 0;
      return half(block, 0) * scale * (nibble + 16 * fifth) - half(block, 2) * least;
    },
  };
}

/** Where two bits of value `i` are: in halves of 128 values, four runs of 32 a byte. */
const crumbOf = (i: number) => ({ byte: Math.floor(i / 128) * 32 + i % 32, shift: Math.floor(i % 128 / 32) * 2 });

const FORMS: Readonly<Record<Exclude<GgufBlockType, "Q4_0" | "Q8_0">, Form>> = {
  Q4_1: small(4, true),
  Q5_0: small(5, false),
  Q5_1: small(5, true),
  Q4_K: kQuant(4),
  Q5_K: kQuant(5),
  Q2_K: {
    bytes: 84,
    values: 256,
    write(values, block) {
      const groups = Array.from({ length: 16 }, (_, g) => range(values.subarray(g * 16, g * 16 + 16), 3));
      const [scale, least] = [Math.max(...groups.map(({ scale }) => scale)) / 15, Math.max(...groups.map(({ least }) => -least)) / 15];
      block.setFloat16(80, scale, true);
      block.setFloat16(82, least, true);
      groups.forEach((group, g) => {
        const four = [Math.round(scale === 0 ? 0 : group.scale / scale), Math.round(least === 0 ? 0 : -group.least / least)];
        block.setUint8(g, four[0] + 16 * four[1]);
        for (let i = g * 16; i < g * 16 + 16; i++) {
          const { byte, shift } = crumbOf(i);
          const of = level(values[i], half(block, 80) * four[0], -half(block, 82) * four[1], 3);
          block.setUint8(16 + byte, block.getUint8(16 + byte) | of << shift);
        }
      });
    },
    read(block, i) {
      const { byte, shift } = crumbOf(i);
      const four = block.getUint8(Math.floor(i / 16));
      return half(block, 80) * (four % 16) * (Math.floor(block.getUint8(16 + byte) / 2 ** shift) % 4) - half(block, 82) * Math.floor(four / 16);
    },
  },
  Q3_K: {
    bytes: 110,
    values: 256,
    write(values, block) {
      const largest = (g: number) => largestOf(values.subarray(g * 16, g * 16 + 16));
      const scale = Math.max(...Array.from({ length: 16 }, (_, g) => largest(g))) / 4 / 31;
      block.setFloat16(108, scale, true);
      for (let g = 0; g < 16; g++) {
        const six = 32 + Math.round(scale === 0 ? 0 : largest(g) / 4 / scale);
        const [low, high] = [96 + g % 8, 104 + g % 4];
        block.setUint8(low, block.getUint8(low) | six % 16 << (g < 8 ? 0 : 4));
        block.setUint8(high, block.getUint8(high) | (six >> 4) << 2 * Math.floor(g / 4));
        for (let i = g * 16; i < g * 16 + 16; i++) {
          const own = half(block, 108) * (six - 32);
          const of = level(values[i], own, -4 * own, 7);
          const { byte, shift } = crumbOf(i);
          block.setUint8(32 + byte, block.getUint8(32 + byte) | of % 4 << shift);
          if (of >= 4) block.setUint8(i % 32, block.getUint8(i % 32) | 1 << Math.floor(i / 32));
        }
      }
    },
    read(block, i) {
      const g = Math.floor(i / 16);
      const low = g < 8 ? block.getUint8(96 + g) % 16 : Math.floor(block.getUint8(88 + g) / 16);
      const six = low + 16 * (Math.floor(block.getUint8(104 + g % 4) / 4 ** Math.floor(g / 4)) % 4);
      const { byte, shift } = crumbOf(i);
      const third = Math.floor(block.getUint8(i % 32) / 2 ** Math.floor(i / 32)) % 2;
      return half(block, 108) * (six - 32) * (Math.floor(block.getUint8(32 + byte) / 2 ** shift) % 4 + 4 * third - 4);
    },
  },
  Q6_K: {
    bytes: 210,
    values: 256,
    write(values, block) {
      const largest = (g: number) => largestOf(values.subarray(g * 16, g * 16 + 16));
      const scale = Math.max(...Array.from({ length: 16 }, (_, g) => largest(g))) / 31 / 127;
      block.setFloat16(208, scale, true);
      for (let g = 0; g < 16; g++) {
        // Of both signs, as llama.cpp writes them.
        block.setInt8(192 + g, Math.round(scale === 0 ? 0 : largest(g) / 31 / scale) * (g % 2 === 0 ? 1 : -1));
        const own = half(block, 208) * block.getInt8(192 + g);
        for (let i = g * 16; i < g * 16 + 16; i++) {
          const of = own === 0 ? 32 : Math.min(63, Math.max(0, Math.round(values[i] / own) + 32));
          const { low, nibble, high, shift } = sixOf(i);
          block.setUint8(low, block.getUint8(low) | of % 16 << nibble);
          block.setUint8(high, block.getUint8(high) | (of >> 4) << shift);
        }
      }
    },
    read(block, i) {
      const { low, nibble, high, shift } = sixOf(i);
      const of = Math.floor(block.getUint8(low) / 2 ** nibble) % 16 + 16 * (Math.floor(block.getUint8(high) / 2 ** shift) % 4);
      return half(block, 208) * block.getInt8(192 + Math.floor(i / 16)) * (of - 32);
    },
  },
};

/** Where six bits of value `i` are: four lower ones in runs of 64, two upper ones in runs of 32. */
function sixOf(i: number): { low: number; nibble: number; high: number; shift: number } {
  const [part, run] = [Math.floor(i / 128), Math.floor(i % 128 / 32)];
  return { low: part * 64 + i % 32 + run % 2 * 32, nibble: run < 2 ? 0 : 4, high: 128 + part * 32 + i % 32, shift: run * 2 };
}

/** Types that are written here. */
export const OTHER_TYPES = Object.keys(FORMS) as (keyof typeof FORMS)[];

/** Values in blocks. */
export function packOther(type: keyof typeof FORMS, values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { bytes, values: perBlock, write } = FORMS[type];
  const packed = new Uint8Array(values.length / perBlock * bytes);
  for (let b = 0; b * perBlock < values.length; b++) {
    write(values.subarray(b * perBlock, (b + 1) * perBlock), new DataView(packed.buffer, b * bytes, bytes));
  }
  return packed;
}

/** Values of blocks of any type, in float64. */
export function referenceValues(type: GgufBlockType, packed: Uint8Array<ArrayBuffer>): Float64Array {
  const { bytes, values, read } = type === "Q4_0" ? Q4_0 : type === "Q8_0" ? Q8_0 : FORMS[type];
  const result = new Float64Array(packed.byteLength / bytes * values);
  for (let b = 0; b * bytes < packed.byteLength; b++) {
    const block = new DataView(packed.buffer, packed.byteOffset + b * bytes, bytes);
    for (let i = 0; i < values; i++) result[b * values + i] = read(block, i);
  }
  return result;
}

const Q4_0 = small(4, false);
const Q8_0 = { bytes: 34, values: 32, read: (block: DataView, i: number) => half(block, 0) * block.getInt8(2 + i) };
